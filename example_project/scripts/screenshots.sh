#!/usr/bin/env bash
# Take docs/images/search.png from the example site. Needs chromium on PATH and a run of demo.sh.
# docs/images/dashboard.png is of invented figures: tests/acceptance/_dashboard_image.py takes it.
#
#   example_project/scripts/screenshots.sh
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
root="$(dirname "$here")"
var="${OBC_SITE_VAR:-$here/var}"
target="$root/docs/images/search.png"

chromium="$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
    || { echo "No chromium on PATH; on Debian: apt-get install chromium" >&2; exit 1; }
python="$(ls -d "$var"/venv-*/bin/python 2>/dev/null | head -n 1)"
[[ -n "$python" ]] || { echo "Run example_project/scripts/demo.sh first." >&2; exit 1; }
port="$("$python" -c 'import socket
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    print(s.getsockname()[1])')"
site="http://127.0.0.1:$port"
work="$(mktemp -d)"

"$python" "$here/manage.py" runserver --noreload "127.0.0.1:$port" >"$work/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

for _ in {1..60}; do
    "$python" -c "import urllib.request; urllib.request.urlopen('$site/', timeout=5)" 2>/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.5
done

"$python" "$here/scripts/save_answer.py" "$site" \
    "poblacion upi" "How many residents does the poblacion of Upi have?" "$work/page.html"

options=(
    --headless --disable-gpu --no-first-run --hide-scrollbars --disable-sync
    --disable-background-networking --disable-component-update
    --user-data-dir="$work/profile" --window-size=1280,970 --force-device-scale-factor=1
)
[[ "$(id -u)" == 0 ]] && options+=(--no-sandbox)  # chromium's sandbox refuses to run as root
mkdir -p "$(dirname "$target")"
"$chromium" "${options[@]}" --screenshot="$target" "file://$work/page.html" 2>"$work/chromium.log" \
    || { cat "$work/chromium.log" >&2; exit 1; }
echo "$target: $(($(stat -c %s "$target") / 1024)) KB"
