# Sourced with the path of a Python: makes `tests` importable for it from everywhere, subprocesses
# included, through a .pth file. Folders named there come after site-packages, so that
# `import django_obc_ai` finds the installed package and not the sources next to the tests.
# PYTHONSAFEPATH keeps the working directory off sys.path for the same reason.
# The file is replaced, and only where it says something else: other processes of that Python may be
# starting meanwhile, and would find no tests where it was empty for an instant.
told="$("$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/obc_ai_tests.pth"
if [[ "$(cat "$told" 2>/dev/null)" != "$PWD" ]]; then
    echo "$PWD" >"$told.$$"
    mv "$told.$$" "$told"
fi
export PYTHONSAFEPATH=1
