# ruff: noqa: N999 - gunicorn looks for this name
"""How gunicorn serves all but the streams.

OBC_SITE_VAR              the installation folder; the socket is run/web.sock in it
OBC_SITE_BIND             another place to listen at, such as 127.0.0.1:8000
OBC_SITE_WORKERS          processes; default: two for each core
OBC_SITE_THREADS          requests that one process answers at the same time; default: 8
OBC_SITE_LONGEST_ANSWER   seconds that the longest answer may take; default: 180

A request that waits for a provider keeps a thread and nothing else: database connections are
given back meanwhile. Sign HUP reloads: the configuration, and the code behind `current`.
"""

from __future__ import annotations

import os
from pathlib import Path
from runpy import run_path as _run_path

# Not resolved: after a reload `current` may lead to another release. For the same reason nothing
# of the site is imported here, in the process that all workers are forked from.
_app = Path(__file__).absolute().parent.parent
_home = Path(os.environ.get("OBC_SITE_VAR") or _app / "var" / "production")
_longest = int(os.environ.get("OBC_SITE_LONGEST_ANSWER", "180"))

wsgi_app = "deploy.wsgi:application"
chdir = str(_app)
bind = os.environ.get("OBC_SITE_BIND") or f"unix:{_home / 'run' / 'web.sock'}"
pidfile = str(_home / "run" / "web.pid")
# After a power cut its number may be another process's, for which gunicorn would not start.
_run_path(str(_app / "deploy" / "backups" / "running.py"))["forget_ended"](Path(pidfile))
# For the socket: the site's user, and the group that the proxy belongs to.
umask = 0o007

worker_class = "gthread"
workers = int(os.environ.get("OBC_SITE_WORKERS") or 2 * (os.cpu_count() or 1))
threads = int(os.environ.get("OBC_SITE_THREADS", "8"))
# What leaks is given back, and never by all workers at once.
max_requests = 5_000
max_requests_jitter = 1_000
# Workers tell that they are alive through a file, which must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

# An answer that is paid for is told to whoever asked, also while workers are replaced.
timeout = _longest + 30
graceful_timeout = _longest
# The proxy opens a connection for each request: one that is kept could be closed by a worker
# that ends at the moment in which the proxy uses it again.
keepalive = 2

# Who may say that a request came by HTTPS: on a socket in the file system everybody who can open
# it. With OBC_SITE_BIND it is the proxy's address.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")

# Query strings hold what people search for, and are not written. "U" is the path without one.
accesslog = "-"
access_log_format = '%({x-forwarded-for}i)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(B)s %(M)sms'
errorlog = "-"
control_socket_disable = True
