#!/usr/bin/env bash
# Asks a running hub everything its own OpenAPI document allows, and much that it does not: no 5xx, nothing outside the document.
#
#   tests/schemathesis.sh [--secs N]     at most N seconds of questions, 100 without
#
# Needs schemathesis 4 (`pip install schemathesis`); says that it was skipped where there is none.

set -euo pipefail
cd "$(dirname "$0")/.."
SECS=100
[ "${1:-}" = --secs ] && SECS=$2

if ! command -v schemathesis >/dev/null; then
    echo "skipped: schemathesis is missing (pip install schemathesis)"
    exit 77
fi
HUB=${SITEPEER:-target/debug/sitepeer}
[ -x "$HUB" ] || cargo build --locked

work=$(mktemp -d)
hub=
cleanup() {
    [ -z "$hub" ] || kill "$hub" 2>/dev/null || true
    [ -z "$hub" ] || wait "$hub" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# A port that is free now; nobody else takes it within the next moment on a test machine.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/hub.toml" <<TOML
listen = "127.0.0.1:$port"
data_dir = "$work/data"
enroll_per_minute = 1000000
TOML
"$HUB" hub --config "$work/hub.toml" >"$work/hub.log" 2>&1 &
hub=$!
for _ in $(seq 100); do
    curl -fs "http://127.0.0.1:$port/readyz" >/dev/null && break
    kill -0 "$hub" || { cat "$work/hub.log"; exit 1; }
    sleep 0.1
done

# The token goes into a file of the tool's, not into an argument.
cat >"$work/schemathesis.toml" <<TOML
[auth.openapi.bearer]
bearer = "\${HUB_TOKEN}"

[phases.coverage]
# Methods that a path does not have are asked in tests/hub_api; here they take most of the time.
unexpected-methods = ["TRACE"]

[checks]
# Rules that a schema cannot say (no overlap, a free name, a region with a gateway) are refusals of requests that fit the schema.
positive_data_acceptance.expected-statuses = [200, 201, 204, 304, 400, 401, 403, 404, 409, 410, 412, 422, 429]
# A token may be taken back by the very questions, and an enrolment is refused as 403 before its fields are looked at.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 428, 429]
TOML
export HUB_TOKEN
HUB_TOKEN=$(cat "$work/data/admin.token")
code=0
timeout --kill-after 10 $((SECS + 40)) schemathesis --config-file "$work/schemathesis.toml" run \
    "http://127.0.0.1:$port/openapi.json" --checks all --max-time "$SECS" --request-timeout 60 --seed 1 --workers 2 \
    --continue-on-failure --generation-database none || code=$?
kill -0 "$hub" || { echo "the hub ended"; code=1; }
if grep -E 'panicked|ended in a panic' "$work/hub.log"; then code=1; fi
exit "$code"
