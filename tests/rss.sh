#!/usr/bin/env bash
# Measures how much memory the small build holds at most while it provisions a simulated router.
#
#   tests/rss.sh SMALL FULL MAX_KIB
#
# SMALL is the binary that is measured, FULL one that has the simulator. The small one logs its own peak
# (VmHWM of /proc/self/status) when it ends. The tunnel is not proven: there is no hub, so exit 3 is right.

set -uo pipefail
small=$1 full=$2 max=$3
[ -r /proc/self/status ] || { echo "no /proc here: not measured"; exit 0; }
[ -x "$full" ] || { echo "$full is not built"; exit 1; }

work=$(mktemp -d)
sim=
cleanup() {
    [ -n "$sim" ] && kill "$sim" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT

cat >"$work/site.toml" <<'TOML'
version = 1
id = "rss001"
instance = "rss"
[tunnel]
protocol = "wireguard"
addresses = ["10.77.0.2/24"]
probe = ["10.77.0.1"]
[hub]
public_key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
endpoints = ["198.51.100.7:51820"]
[subnets]
advertise = ["192.168.88.0/24"]
reach = ["10.77.0.0/24", "192.168.89.0/24"]
TOML

mkfifo "$work/ready"
"$full" sim --listen 127.0.0.1:0 --listen-tls 127.0.0.1:0 --json >"$work/ready" &
sim=$!
# Blocks until the simulator has written its first line.
read -r -t 30 line <"$work/ready" || { echo "the simulator does not start"; exit 1; }
address=$(sed -n 's/.*"api_ssl":"\([^"]*\)".*/\1/p' <<<"$line")
pin=$(sed -n 's/.*"pin":"\([^"]*\)".*/\1/p' <<<"$line")
[ -n "$address" ] && [ -n "$pin" ] || { echo "no address in: $line"; exit 1; }

SITEPEER_ROUTER_PASSWORD='' SITEPEER_LOG=sitepeer=debug "$small" provision --router "apis://admin@$address" --pin "$pin" \
    --site "$work/site.toml" --yes --timeout 1 --json >"$work/out" 2>"$work/err"
code=$?
cat "$work/out"
writes=$(tail -n 1 "$work/out" | sed -n 's/.*"writes":\([0-9]*\).*/\1/p')
peak=$(sed -n 's/.*memory.*peak="\{0,1\}\([0-9]*\) kB.*/\1/p' "$work/err" | tail -n 1)
if [ "$code" -ne 3 ] || [ "${writes:-0}" -eq 0 ] || [ -z "$peak" ]; then
    cat "$work/err"
    echo "the small build did not provision: exit $code, ${writes:-0} writes, peak ${peak:-unknown}"
    exit 1
fi
echo "figure: $peak KiB at most while it provisions over TLS ($writes writes)"
[ "$peak" -le "$max" ] || { echo "more than $max KiB"; exit 1; }
