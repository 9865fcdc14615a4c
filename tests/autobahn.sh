#!/bin/sh
# Runs the quick set of the Autobahn suite (all but 9.*, 12.* and 13.*: sizes and compression) against examples/ws_echo.rs,
# and fails on any case that FAILED, was closed UNCLEAN or with a WRONG CODE. The suite needs Python 2.7 with pip, on the
# path or of pyenv, and is installed beside the build for it; where there is none, this says so and succeeds.
set -eu
cd "$(dirname "$0")/.."

wstest=
for candidate in ${WSTEST:-} wstest "$HOME/.local/bin/wstest"; do
    if command -v "$candidate" >/dev/null 2>&1; then wstest=$candidate; break; fi
done
if [ -z "$wstest" ]; then
    suite=${CARGO_TARGET_DIR:-target}/autobahn
    for python in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
        "$python" -c "" 2>/dev/null || continue
        if [ ! -e "$suite/installed" ]; then
            rm -rf "$suite"
            "$python" -m pip install --quiet --no-warn-script-location --disable-pip-version-check \
                --target "$suite" autobahntestsuite==25.10.1 >/dev/null 2>&1 || continue
            touch "$suite/installed"
        fi
        # As a site's folder: one of its packages is found by a .pth file.
        start="import site; site.addsitedir('$suite'); from autobahntestsuite.wstest import run; run()"
        wstest() { "$python" -W ignore -c "$start" "$@"; }
        wstest=wstest
        break
    done
fi
if [ -z "$wstest" ]; then
    echo "autobahn: skipped: no Python 2.7 with pip to install autobahntestsuite with (or set WSTEST to its wstest)"
    exit 0
fi

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
cargo build --quiet --locked --example ws_echo
"${CARGO_TARGET_DIR:-target}/debug/examples/ws_echo" 127.0.0.1:0 > "$work/address" &
server=$!
# The server prints its address once it listens.
until [ -s "$work/address" ]; do
    kill -0 "$server" 2>/dev/null || { echo "not ok - the echo server ended before it listened"; exit 1; }
    sleep 0.1
done
url=$(head -n 1 "$work/address")

cat > "$work/spec.json" <<EOF
{"outdir": "$work/reports",
 "servers": [{"agent": "broadcastd", "url": "$url"}],
 "cases": ["*"], "exclude-cases": ["9.*", "12.*", "13.*"], "exclude-agent-cases": {}}
EOF
"$wstest" -m fuzzingclient -s "$work/spec.json" > "$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }

python3 - "$work/reports/index.json" <<'EOF'
import json, sys
from collections import Counter

cases = json.load(open(sys.argv[1]))["broadcastd"]
bad = {case: result for case, result in cases.items()
       if result["behavior"] in ("FAILED", "UNCLEAN", "WRONG CODE")
       or result["behaviorClose"] in ("FAILED", "UNCLEAN", "WRONG CODE")}
for case, result in sorted(bad.items()):
    print(f"not ok - {case}: {result['behavior']}, close {result['behaviorClose']}")
counts = Counter(result["behavior"] for result in cases.values())
print(f"autobahn: {len(cases)} cases:", ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
print(f"# pass {len(cases) - len(bad)}")
print(f"# fail {len(bad)}")
sys.exit(1 if bad or not cases else 0)
EOF
