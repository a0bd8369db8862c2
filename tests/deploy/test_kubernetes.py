"""The Kubernetes manifests agree with image, settings, addresses and other files of the kit.

Their schema is judged, and what their pods run is run, by tests/acceptance/deploy_kubernetes.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands

from tests.deploy.manifests import (
    DEPLOY,
    FOLDER,
    IMAGE,
    SECRET,
    Pod,
    documents,
    environment,
    named,
    pod,
    pods,
    probes,
)
from tests.deploy.site import NEEDS, manage, run
from tests.deploy.site import SECRET as SECRET_KEY
from tests.extras import is_installed

PODS = pods()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
CONFIG = named("ConfigMap", "obc-site")["data"]
#: What secrets are called; a ConfigMap may hold none.
SECRET_NAME = re.compile(r"SECRET|KEY|PASSWORD|TOKEN|_URL$")
every_pod = pytest.mark.parametrize("each", PODS, ids=lambda found: found.name)


def test_every_file_is_listed_and_every_object_is_there() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {path.name for path in FOLDER.glob("*.yaml")}
    assert SECRET.suffix != ".yaml"  # `kubectl apply -f` of the folder does not take it
    kinds = {each["kind"] for each in documents()}
    assert kinds >= {
        "Namespace", "ConfigMap", "Deployment", "StatefulSet", "Job", "CronJob", "Service",
        "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler",
        "PersistentVolumeClaim",
    }  # fmt: skip
    names = {"site", "worker", "beat", "migrate", "backup", "verify-indexes", "postgres", "redis"}
    assert {each.name for each in PODS} == names


# --- image ---------------------------------------------------------------------------------------
@every_pod
def test_containers_are_of_the_dockerfile_or_of_compose(each: Pod) -> None:
    of_compose = {service["image"] for service in COMPOSE.values()} - {"obc-site:latest"}
    for container in each.containers():
        assert container["image"] in {IMAGE, *of_compose}, container["name"]
        assert not container["image"].endswith(":latest")


@every_pod
def test_the_user_is_that_of_the_image(each: Pod) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    images = {container["image"] for container in each.containers()}
    context = each.spec["securityContext"]
    if IMAGE in images:
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user[1]), int(user[2]))
    assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
    assert context["fsGroup"] == context["runAsGroup"]  # so that volumes can be written


@every_pod
def test_no_pod_has_a_right_that_it_does_not_need(each: Pod) -> None:
    assert each.spec["automountServiceAccountToken"] is False
    assert each.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        assert key not in each.spec
    for container in each.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    assert "hostPath" not in str(each.spec["volumes"])


def test_what_the_site_writes_is_mounted_where_the_image_has_its_folders() -> None:
    line = re.search(r"for each in ([a-z ]+); do", DOCKERFILE)
    assert line is not None
    folders = {f"/srv/site/{name}" for name in line[1].split()}
    for each in PODS:
        for container in each.containers():
            if container["image"] == IMAGE:
                paths = {mount["mountPath"] for mount in container["volumeMounts"]}
                assert paths - {"/tmp"} <= folders, (each.name, container["name"])
                # Without these nothing starts on a root that cannot be written.
                written = {"/tmp"} | {
                    f"/srv/site/{name}" for name in ("run", "log", "spool", "vectors")
                }
                assert written <= paths, (each.name, container["name"])


def test_mounts_have_their_volumes() -> None:
    for each in PODS:
        volumes = {volume["name"] for volume in each.spec["volumes"]}
        claimed = {"data"} if each.kind == "StatefulSet" else set()
        mounted = {mount["name"] for found in each.containers() for mount in found["volumeMounts"]}
        assert mounted == volumes | claimed, each.name


# --- commands ------------------------------------------------------------------------------------
def test_processes_are_started_as_compose_and_the_image_start_them() -> None:
    image = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert image is not None
    wanted = {"web": yaml.safe_load(image[1])}
    wanted |= {name: COMPOSE[name]["command"] for name in ("streams", "worker", "beat")}
    found = {
        c["name"]: c["command"]
        for p in ("site", "worker", "beat")
        for c in pod(p).spec["containers"]
    }
    assert {name: found[name] for name in wanted} == wanted
    checks = {name: COMPOSE[name]["healthcheck"]["test"] for name in ("streams", "worker")}
    (streams,) = [c for c in pod("site").spec["containers"] if c["name"] == "streams"]
    assert ["CMD", *streams["livenessProbe"]["exec"]["command"]] == checks["streams"]
    (worker,) = pod("worker").spec["containers"]
    assert worker["livenessProbe"]["exec"]["command"][-1] == checks["worker"][1].replace("$$", "$")
    assert COMPOSE["prepare"]["command"][-1].count("manage.py migrate --no-input") == 1
    redis = pod("redis").spec["containers"][0]["command"]
    assert redis[: len(COMPOSE["redis"]["command"])] == COMPOSE["redis"]["command"]


def test_one_beat_alone_also_while_it_is_replaced() -> None:
    spec = named("Deployment", "beat")["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    jobs = [each for each in documents() if each["kind"] == "CronJob"]
    assert {each["spec"]["concurrencyPolicy"] for each in jobs} == {"Forbid"}


def test_management_commands_are_there() -> None:
    manage_py = "current/example_project/manage.py"
    seen = {
        command[command.index(manage_py) + 1]
        for each in PODS
        for container in each.containers()
        if manage_py in (command := container.get("command", []))
    }
    assert seen - {"collectstatic"} <= set(get_commands()) and len(seen) == 3


def test_an_answer_under_way_has_time_to_end() -> None:
    longest = int(CONFIG["OBC_SITE_LONGEST_ANSWER"])
    nginx = named("ConfigMap", "obc-site-nginx")["data"]["nginx.conf"]
    timeout = re.search(r"proxy_read_timeout (\d+)s", nginx)
    assert timeout is not None and int(timeout[1]) > longest
    containers = {each["name"]: each for each in pod("site").spec["containers"]}
    waits = {
        name: int(each["lifecycle"]["preStop"]["exec"]["command"][1])
        for name, each in containers.items()
    }
    # nginx stops to take requests before those who answer them do.
    assert waits["proxy"] < waits["web"] == waits["streams"]
    assert pod("site").spec["terminationGracePeriodSeconds"] > longest + waits["web"]
    assert pod("worker").spec["terminationGracePeriodSeconds"] > longest


# --- settings ------------------------------------------------------------------------------------
def test_no_secret_is_in_clear() -> None:
    for each in documents():
        if each["kind"] == "ConfigMap":
            assert [name for name in each["data"] if SECRET_NAME.search(name)] == []
        assert each["kind"] != "Secret"
    for each in PODS:
        for container in each.containers():
            for variable in container.get("env", []):
                assert "value" not in variable, f"{each.name}: {variable['name']}"
    for secret in documents(SECRET):
        for name, value in secret["stringData"].items():
            if re.search(r"SECRET|KEY|PASSWORD|TOKEN", name):
                assert re.fullmatch(r"<[^>]+>", value), name
            assert "@" not in value or ":<password>@" in value


def test_every_variable_is_one_that_the_kit_reads() -> None:
    described = (DEPLOY / ".env.example").read_text()
    others = (DEPLOY / "README.md").read_text()
    for name in {**CONFIG, **named("Secret", "obc-site")["stringData"]}:
        is_described = re.search(rf"^#?{name}=", described, re.MULTILINE)
        assert is_described or f"`{name}`" in others, name


def test_the_numbers_of_processes_do_not_follow_the_node() -> None:
    for name in ("OBC_SITE_WORKERS", "OBC_SITE_THREADS", "OBC_SITE_STREAM_WORKERS"):
        assert int(CONFIG[name]) >= 1
    assert int(CONFIG["OBC_SITE_STREAM_WORKERS"]) >= 2


def filled(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a pod of the site, with the secret filled in."""
    found = environment(pod("migrate").spec["containers"][0])
    return found | {
        "SECRET_KEY": SECRET_KEY,
        "GOOGLE_API_KEY": "AQ.made-for-this-test",
        "OBC_SITE_METRICS_TOKEN": SECRET_KEY,
        "DATABASE_URL": found["DATABASE_URL"].replace("<password>", "made-up"),
        "OBC_SITE_VAR": str(tmp_path),
    }


def test_the_example_of_secrets_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    variables = environment(pod("migrate").spec["containers"][0]) | {"OBC_SITE_VAR": str(tmp_path)}
    done = run("-m", "deploy.env", variables=variables)
    assert done.returncode == 1
    for name in ("SECRET_KEY", "DATABASE_URL", "GOOGLE_API_KEY"):
        assert f"{name}: still holds a placeholder" in done.stderr
    done = run("-m", "deploy.env", variables=filled(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "database: PostgreSQL" in done.stdout and "answers: Gemini" in done.stdout


def test_connections_are_fewer_than_postgresql_has() -> None:
    pool = re.search(r"^POOL = (\d+)", (DEPLOY / "env.py").read_text(), re.MULTILINE)
    assert pool is not None
    scaling = named("HorizontalPodAutoscaler", "site")["spec"]
    surge = named("Deployment", "site")["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    web = int(CONFIG["OBC_SITE_WORKERS"]) * int(CONFIG["OBC_SITE_THREADS"])
    one = web + int(pool[1]) * int(CONFIG["OBC_SITE_STREAM_WORKERS"])
    worker = named("Deployment", "worker")["spec"]
    concurrency = worker["template"]["spec"]["containers"][0]["command"][-1]
    workers = (worker["replicas"] + 1) * (int(concurrency.rpartition("=")[2]) + 1)
    most = one * (scaling["maxReplicas"] + surge) + workers + 10  # beat, jobs, people
    given = pod("postgres").spec["containers"][0]["args"][-1]
    assert given.startswith("max_connections=") and most < int(given.rpartition("=")[2])
    page = (DEPLOY.parents[1] / "docs/howto/deploy-on-kubernetes.md").read_text()
    assert f"{one} connections" in page and f"{one * (scaling['maxReplicas'] + surge)} of" in page


# --- addresses -----------------------------------------------------------------------------------
def test_probes_ask_what_there_is_by_a_name_of_the_site() -> None:
    hosts = CONFIG["ALLOWED_HOSTS"].split(",")
    asked = []
    for each in pod("site").spec["containers"]:
        for name, probe in probes(each).items():
            if "httpGet" in probe:
                headers = {
                    found["name"]: found["value"] for found in probe["httpGet"]["httpHeaders"]
                }
                assert headers == {"Host": hosts[0], "X-Forwarded-Proto": "https"}, name
                asked.append(probe["httpGet"]["path"])
            elif "exec" in probe:
                assert probe["exec"]["command"][1].endswith("/deploy/live.py")
                assert probe["timeoutSeconds"] > 8  # live.py's own
    assert asked == ["/health/ready/"]
    addresses = (DEPLOY / "urls.py").read_text()
    assert 'path("health/ready/", ReadyView' in addresses
    asked_by_live = re.search(r'"GET", "/([a-z/]+)"', (DEPLOY / "live.py").read_text())
    assert asked_by_live is not None and asked_by_live[1] == "api/health/live/"


@pytest.mark.skipif(not all(map(is_installed, NEEDS)), reason="what the site needs is missing")
def test_the_addresses_of_probes_and_of_nginx_are_the_sites(tmp_path: Path) -> None:
    variables = filled(tmp_path)
    nginx = named("ConfigMap", "obc-site-nginx")["data"]["nginx.conf"]
    paths = re.findall(r"location (?:= )?(/\S+) \{", nginx)
    assert paths == ["/static/", "/chat/", "/api/chat/stream/"]
    asked = [*paths[1:], "/health/ready/", "/api/health/live/"]
    code = f"from django.urls import resolve; [resolve(each) for each in {asked}]; print('found')"
    assert manage("shell", "--no-imports", "-c", code, variables=variables).strip() == "found"
    done = run("-c", "import django; django.setup(); from django.conf import settings;"
               "print(settings.STATIC_URL, settings.OBC_AI['WEB']['trusted_proxies'])",
               variables=variables)  # fmt: skip
    # The ingress controller and the pod's nginx, which adds to what came.
    assert done.stdout.split() == ["/static/", "2"]
    assert "X-Forwarded-For $proxy_add_x_forwarded_for" in nginx


def test_names_lead_from_the_ingress_to_the_pod() -> None:
    (rule,) = named("Ingress", "site")["spec"]["rules"]
    assert rule["host"] in CONFIG["ALLOWED_HOSTS"].split(",")
    assert f"https://{rule['host']}" in CONFIG["CSRF_TRUSTED_ORIGINS"].split(",")
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = named("Service", backend["name"])["spec"]
    assert backend["port"]["name"] in {port["name"] for port in service["ports"]}
    assert service["selector"].items() <= pod("site").labels.items()
    (proxy,) = [each for each in pod("site").spec["containers"] if each["name"] == "proxy"]
    assert service["ports"][0]["targetPort"] == proxy["ports"][0]["name"]
    nginx = named("ConfigMap", "obc-site-nginx")["data"]["nginx.conf"]
    assert f"listen {proxy['ports'][0]['containerPort']};" in nginx


def test_every_selector_finds_its_pods() -> None:
    for each in documents():
        spec = each.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        labels = selector if each["kind"] == "Service" else selector.get("matchLabels", {})
        if labels:
            assert any(labels.items() <= found.labels.items() for found in PODS), each["metadata"]
    reaching = {found.name for found in PODS if found.labels.get("uses") == "stores"}
    assert reaching == {"site", "worker", "beat", "migrate", "backup", "verify-indexes"}
    target = named("HorizontalPodAutoscaler", "site")["spec"]["scaleTargetRef"]
    assert (
        "replicas" not in named(target["kind"], target["name"])["spec"]
    )  # else each apply resets it


def test_secrets_and_servers_are_called_what_others_call_them() -> None:
    secrets = {each["metadata"]["name"] for each in documents(SECRET)}
    used = set()
    for each in PODS:
        for container in each.containers():
            used |= {
                found["secretRef"]["name"]
                for found in container.get("envFrom", [])
                if "secretRef" in found
            }
    assert used == secrets
    values = named("Secret", "obc-site")["stringData"]
    assert (
        "@postgres:5432/" in values["DATABASE_URL"]
        and values["REDIS_URL"] == "redis://redis:6379/0"
    )
    assert named("Service", "postgres") and named("Service", "redis")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_puts_all_of_it_into_the_namespace() -> None:
    done = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert len(found) == len(documents())
    spaces = {each["metadata"].get("namespace") for each in found if each["kind"] != "Namespace"}
    assert spaces == {"obc-site"}
