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

# Something to ask about: an account with an instance, a site, peers; a gateway's token and an agent's credential.
cat >"$work/seed.py" <<'PYTHON'
import json, sys, urllib.request

base, admin, folder = sys.argv[1], open(sys.argv[2]).read().strip(), sys.argv[3]

def post(path, body, token=admin):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(urllib.request.Request(base + path, json.dumps(body).encode(), headers)) as reply:
        return json.load(reply)

account = post("/v1/accounts", {"name": "acme", "max_instances": 0})["id"]
operator = post("/v1/tokens", {"name": "o", "role": "operator", "account": account})["secret"]
gateway = post("/v1/tokens", {"name": "g", "role": "gateway", "region": "eu"})["secret"]
hello = {"name": "g", "region": "eu", "public_host": "192.0.2.1", "backend": "userspace", "version": "0", "install": "0" * 16}
post("/v1/gateway/hello", hello, gateway)
instance = post("/v1/instances", {"name": "office", "region": "eu"}, operator)["id"]
site = post("/v1/sites", {"name": "branch"}, operator)["id"]
peer = post(f"/v1/instances/{instance}/peers", {"kind": "site", "site": site, "subnets": ["192.168.88.0/24"]}, operator)["id"]
token = post("/v1/enrollments", {"peer": peer}, operator)["token"]
agent = post("/v1/enroll", {"token": token, "device_nonce": "0" * 16}, None)["credential"]
for name, text in {"operator": operator, "gateway": gateway, "agent": agent}.items():
    open(f"{folder}/{name}.token", "w").write(text)
for name, text in {"instances": instance, "sites": site, "peers": peer}.items():
    print(f'[[operations]]\ninclude-path-regex = "^/v1/{name}/[{{]id"\nparameters = {{ id = "{text}" }}\n')
PYTHON
umask 077
python3 "$work/seed.py" "http://127.0.0.1:$port" "$work/data/admin.token" "$work" >"$work/ids.toml"

# The tokens are in the environment, not in an argument.
cat >"$work/all.toml" <<'TOML'
[auth.openapi.bearer]
bearer = "${HUB_TOKEN}"

[phases.coverage]
# Methods that a path does not have: one here, the others take most of the time and are asked in tests/hub_api.
unexpected-methods = ["TRACE"]

[checks]
# Rules that a schema cannot say (no overlap, a free name, a region with a gateway) are refusals of requests that fit the schema.
positive_data_acceptance.expected-statuses = [200, 201, 204, 304, 400, 401, 403, 404, 409, 410, 412, 422, 429]
# Whether an id exists is looked at before the rest of a request, and so is the role: both are as good as 400.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 428, 429]
TOML
# `[[operations]]` ends the top of the file: it comes last.
cat "$work/all.toml" "$work/ids.toml" >"$work/ids-known.toml"

# What a round may take beyond its time: the tool looks at the clock between two of its phases only, and the machine may be busy.
SLACK_SECS=240

# ask WHO CONFIG SHARE FLAGS…: one round of questions. One worker: the tool's own code is not safe with two on Python 3.11.
code=0
ask() {
    local who=$1 config=$2 secs=$((SECS * $3 / 100))
    shift 3
    echo "=== as $who, $secs s"
    # In the folder of this run: the tool leaves things behind where it stands.
    (
        cd "$work"
        HUB_TOKEN=$(cat "$who.token")
        export HUB_TOKEN
        timeout --kill-after 10 $((secs + SLACK_SECS)) schemathesis --config-file "$config.toml" run \
            "http://127.0.0.1:$port/openapi.json" --checks all --max-time "$secs" --request-timeout 60 --seed 1 \
            --continue-on-failure --generation-database none --warnings off "$@"
    ) || { echo "=== as $who: ended with $?"; code=1; }
    kill -0 "$hub" || { echo "the hub ended"; code=1; }
}
cp "$work/data/admin.token" "$work/admin.token"
ask operator ids-known 30 --include-path-regex '^/v1/(instances|peers|sites|enrollments|whoami|audit)' --exclude-method DELETE
ask gateway all 10 --include-path-regex '^/v1/gateway/'
ask agent all 10 --include-path-regex '^/v1/agent/'
ask admin all 50
if grep -E 'panicked|ended in a panic' "$work/hub.log"; then code=1; fi
exit "$code"
