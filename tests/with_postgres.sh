#!/usr/bin/env bash
# Runs a command beside a PostgreSQL of its own, gone afterwards. The command finds it in SITEPEER_TEST_POSTGRES, as a superuser
# who may make databases: each test makes one of its own.
#
#   tests/with_postgres.sh cargo nextest run --test hub_store
#
# Exit code: that of the command; 77 if there is no PostgreSQL here (the last line says why).

set -uo pipefail

cannot() { echo "skipped: $*"; exit 77; }

[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)" 2>/dev/null)
[ -x "$bin/initdb" ] || cannot "PostgreSQL is missing: install the package postgresql"

place=$(mktemp -d /tmp/sitepeer-postgres.XXXXXX)
# It refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$place" || cannot "there is no user postgres to run it as"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups --)
fi
stop() {
    (cd "$place" && "${as[@]}" "$bin/pg_ctl" -D "$place/data" -m immediate -w stop) >/dev/null 2>&1
    rm -rf "$place"
}
trap stop EXIT
trap 'exit 130' INT TERM

# A port that is free now; the socket's folder is its own.
port=$(shuf -i 20000-29999 -n 1)
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
# Trust is for this machine only, and for minutes. Durability stays on: what a test acknowledges is what it kills.
if ! (cd "$place" && "${as[@]}" "$bin/initdb" -D "$place/data" -U sitepeer -A trust -E UTF8 --locale=C &&
    "${as[@]}" "$bin/pg_ctl" -D "$place/data" -w -t 60 -l "$place/log" -o \
        "-p $port -k $place -c listen_addresses=127.0.0.1 -c max_connections=300" start) >"$place.out" 2>&1; then
    cat "$place.out" "$place/log" 2>/dev/null
    rm -f "$place.out"
    cannot "PostgreSQL does not start here"
fi
rm -f "$place.out"
SITEPEER_TEST_POSTGRES="postgres://sitepeer@127.0.0.1:$port/postgres" "$@"
exit $?
