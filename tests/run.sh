#!/usr/bin/env bash
# Everything that is checked of this repository, in one command.
#
#   tests/run.sh                    all stages, for CI: about an hour on two cores, from a fresh machine
#   tests/run.sh STAGE…             only these, in this order
#   tests/run.sh --fuzz-secs 60     fuzz each target this long (10 s without)
#   tests/run.sh --no-install       say what is missing instead of installing it
#
# Stages: tools fmt clippy deny test test-small doctest doc fuzz demo size schemathesis vm system figures
#
# What a stage needs beside Rust is taken from Debian (apt-get), crates.io and PyPI (schemathesis, into target/). `system` needs root
# and network namespaces; `vm` runs the data plane's tests on a kernel that has WireGuard, in an emulated machine; `figures` fills a
# hub with ten thousand site peers.
#
# A stage that cannot run here says that it was skipped, and why. The last line is a summary; the exit code is
# that of the checks: 0 if none failed.

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

ALL=(tools fmt clippy deny test test-small doctest doc fuzz demo size schemathesis vm system figures)
FUZZ_SECS=10
INSTALL=yes
STAGES=()
# Limits of the small build, in bytes and KiB: the budgets of the project.
MAX_SMALL_BYTES=3145728
MAX_SMALL_RSS_KIB=6144
# Site peers of the hub whose figures are taken.
MANY_PEERS=10000
# Simulated routers of the proxy whose figures are taken.
MANY_ROUTERS=1000

while [ $# -gt 0 ]; do
    case "$1" in
    --fuzz-secs) FUZZ_SECS="$2"; shift ;;
    --no-install) INSTALL=no ;;
    -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "unknown flag $1; see $0 --help" >&2; exit 2 ;;
    *) STAGES+=("$1") ;;
    esac
    shift
done
[ ${#STAGES[@]} -gt 0 ] || STAGES=("${ALL[@]}")

export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 INSTA_UPDATE=no
# rustc on every path below must be the stable one; cargo-fuzz alone gets nightly's flags from it.
unset RUSTC_BOOTSTRAP
LOGS=target/run
mkdir -p "$LOGS"
PASSED=()
FAILED=()
SKIPPED=()

# --- helpers ---------------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

# skip REASON: ends a stage that cannot run here.
skip() {
    echo "$*" >"$LOGS/skipped"
    return 77
}

# partly REASON: the stage goes on, and the summary says what it left out.
partly() { echo "$*" >>"$LOGS/partly"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# cargo_tool NAME: a cargo subcommand from crates.io, built fast rather than to run fast.
cargo_tool() {
    have "cargo-$1" && return 0
    [ "$INSTALL" = yes ] || return 1
    echo "installing cargo-$1 from crates.io"
    CARGO_TARGET_DIR="$PWD/target/tools" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo install --locked "cargo-$1" || return 1
    hash -r
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    have "cargo-$1"
}

# debian PROGRAM=PACKAGE…: installs the packages whose programs are missing; fails naming what is still not there.
debian() {
    local pair missing=()
    PATH=$PATH:/usr/sbin:/sbin
    for pair in "$@"; do have "${pair%%=*}" || missing+=("${pair#*=}"); done
    if [ ${#missing[@]} -gt 0 ] && [ "$INSTALL" = yes ] && have apt-get; then
        [ -n "${APT_UPDATED:-}" ] || as_root apt-get update -q
        APT_UPDATED=yes
        as_root apt-get install -q -y --no-install-recommends "${missing[@]}"
        hash -r
    fi
    missing=()
    for pair in "$@"; do have "${pair%%=*}" || missing+=("${pair%%=*}"); done
    [ ${#missing[@]} -eq 0 ] || { MISSING="${missing[*]} (not to be installed from here)"; return 1; }
}

# What tests in network namespaces are made of.
NAMESPACES=(ip=iproute2 nft=nftables wg=wireguard-tools ping=iputils-ping wireguard-go=wireguard-go)

# namespaces: whether tests in network namespaces can run, with their programs; else MISSING says why not.
namespaces() {
    [ "$(id -u)" = 0 ] || { MISSING="not root"; return 1; }
    debian "${NAMESPACES[@]}" || return 1
    [ -e /dev/net/tun ] || { MISSING="no /dev/net/tun"; return 1; }
    ip netns add "sprun$$" 2>/dev/null && ip netns del "sprun$$" || { MISSING="no network namespace can be made"; return 1; }
}

# beside_postgres WHAT: BESIDE is what runs a command beside a PostgreSQL of its own; where there is none, WHAT is left out.
beside_postgres() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || debian initdb=postgresql
    BESIDE=()
    if tests/with_postgres.sh true; then
        BESIDE=(tests/with_postgres.sh)
    else
        partly "$1 (PostgreSQL is missing, or does not start here)"
    fi
}

stage() {
    local name=$1 began=$SECONDS code
    rm -f "$LOGS/skipped" "$LOGS/partly"
    "stage_${name//-/_}" >"$LOGS/$name.log" 2>&1
    code=$?
    local took="$((SECONDS - began)) s" said
    said=$(grep -h '^figure: ' "$LOGS/$name.log" | sed 's/^figure: /, /' | tr -d '\n')
    [ -f "$LOGS/partly" ] && said+="; left out: $(paste -sd';' "$LOGS/partly")"
    case $code in
    0) PASSED+=("$name"); printf '%-11s ok       %7s%s\n' "$name" "$took" "$said" ;;
    77) SKIPPED+=("$name"); printf '%-11s SKIPPED  %7s  %s\n' "$name" "$took" "$(cat "$LOGS/skipped")" ;;
    *)
        FAILED+=("$name")
        printf '%-11s FAILED   %7s  %s\n' "$name" "$took" "$LOGS/$name.log"
        tail -n 60 "$LOGS/$name.log" | sed 's/^/    /'
        ;;
    esac
}

# why STAGE: the lines of its log that say what failed, for whoever sees only the end of the output.
why() {
    echo "$1 failed:"
    grep -A 3 -E 'panicked at|^error|^ *FAIL|^=== |❌|^ *- |[0-9]+\. Test Case|timed out|ended in|the hub ended|more than' "$LOGS/$1.log" |
        grep -vE '^(--|━*| *)$' | cut -c 1-300 | tail -n 24 | sed 's/^/    /'
}

# --- stages ----------------------------------------------------------------------------------------------------

stage_tools() {
    have cargo || { echo "cargo is missing: install Rust 1.95 or later, https://rustup.rs"; return 1; }
    cargo --version
    local missing=()
    have cc || missing+=(gcc)
    have make || missing+=(make)
    have perl || missing+=(perl)
    # libFuzzer is compiled from C++.
    have c++ || missing+=(g++)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$INSTALL" = yes ] && have apt-get; then
        as_root apt-get update -q && as_root apt-get install -q -y --no-install-recommends "${missing[@]}" && return 0
    fi
    echo "missing, and not to be installed from here: ${missing[*]}"
    return 1
}

stage_fmt() { cargo fmt --check && cargo fmt --check --manifest-path tests/fuzz/Cargo.toml; }

stage_clippy() {
    cargo clippy --locked --all-targets -- -D warnings &&
        cargo clippy --locked --all-targets --no-default-features -- -D warnings
}

stage_deny() {
    cargo_tool deny || { skip "cargo-deny is missing and could not be installed"; return; }
    cargo deny --locked check bans licenses sources || return 1
    # The advisories are a git repository on GitHub, which not every machine reaches.
    if cargo deny --locked fetch db; then
        cargo deny --locked check advisories
    else
        partly "advisories (the RustSec database on GitHub cannot be fetched from here)"
    fi
}

nextest() {
    beside_postgres "the store on PostgreSQL"
    if cargo_tool nextest; then
        "${BESIDE[@]}" cargo nextest run --locked --profile ci "$@" 2>&1 | tee "$LOGS/nextest"
        local code=${PIPESTATUS[0]}
        echo "figure: $(grep -ho '[0-9]* tests run: .*' "$LOGS/nextest" | tail -n 1)"
        return "$code"
    else
        partly "cargo-nextest (missing; plain cargo test ran instead)"
        "${BESIDE[@]}" cargo test --locked "$@"
    fi
}

# Without the system tests, which have a stage of their own; those of the data plane say that they were skipped without root.
stage_test() {
    namespaces || partly "tests in network namespaces ($MISSING)"
    nextest --all-targets -E 'not binary(system)'
}

stage_test_small() { nextest --no-default-features --lib --tests; }

stage_doctest() { cargo test --locked --doc; }

stage_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items; }

stage_fuzz() {
    cargo_tool fuzz || { skip "cargo-fuzz is missing and could not be installed"; return; }
    # Coverage flags are nightly's; RUSTC_BOOTSTRAP lets the stable compiler have them, for this stage only.
    export RUSTC_BOOTSTRAP=1
    local failed=0 runs
    cargo fuzz build --sanitizer none --fuzz-dir tests/fuzz || { unset RUSTC_BOOTSTRAP; return 1; }
    # Each target has one thread.
    cargo fuzz list --fuzz-dir tests/fuzz | xargs -P "$(nproc)" -I TARGET \
        cargo fuzz run --sanitizer none --fuzz-dir tests/fuzz TARGET -- \
        -max_total_time="$FUZZ_SECS" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 || failed=1
    runs=$(grep -h '^stat::number_of_executed_units' "$LOGS/fuzz.log" | awk '{n += $2} END {print n}')
    echo "figure: ${runs:-0} runs in $FUZZ_SECS s for each target"
    unset RUSTC_BOOTSTRAP
    return $failed
}

stage_demo() {
    cargo build --locked --release || return 1
    local began
    began=$(date +%s%N)
    timeout 120 target/release/sitepeer demo --once || return 1
    echo "figure: demo --once in $((($(date +%s%N) - began) / 1000000)) ms"
}

# The small build: its size, and its memory while it provisions a simulated router.
stage_size() {
    cargo rustc --locked --no-default-features --profile agent --bin sitepeer -- \
        -C link-arg=-Wl,-T,cross/agent.ld -C link-arg=-Wl,--no-eh-frame-hdr || return 1
    local small=target/agent/sitepeer bytes
    bytes=$(wc -c <"$small")
    echo "figure: small build $bytes bytes"
    [ "$bytes" -le $MAX_SMALL_BYTES ] || { echo "more than $MAX_SMALL_BYTES bytes"; return 1; }
    tests/rss.sh "$small" target/release/sitepeer "$MAX_SMALL_RSS_KIB"
}

# The running hub against its own OpenAPI document.
stage_schemathesis() {
    [ -x tests/schemathesis.sh ] || { skip "tests/schemathesis.sh is not there"; return; }
    local place=target/schemathesis
    if ! have schemathesis && [ ! -x "$place/bin/schemathesis" ] && [ "$INSTALL" = yes ]; then
        debian python3=python3 || { skip "$MISSING"; return; }
        python3 -m venv "$place" || { debian ensurepip=python3-venv; python3 -m venv "$place"; }
        "$place/bin/pip" install --quiet "schemathesis>=4,<5" || rm -rf "$place"
    fi
    [ -x "$place/bin/schemathesis" ] && PATH=$PWD/$place/bin:$PATH
    have schemathesis || { skip "schemathesis is missing and could not be installed"; return; }
    cargo build --locked || return 1
    tests/schemathesis.sh
}

# Hub, gateway, routers and clients as programs in network namespaces.
stage_system() {
    namespaces || { skip "$MISSING"; return; }
    beside_postgres "two hubs on one PostgreSQL"
    cargo build --locked && "${BESIDE[@]}" cargo test --locked --test system -- --test-threads=1 --nocapture || return 1
    grep -q '^skipped: ' "$LOGS/system.log" && partly "$(grep -h '^skipped: ' "$LOGS/system.log" | sort -u | paste -sd';')"
    return 0
}

# What the hub is held to with ten thousand site peers, on both stores, and the proxy with a thousand routers: the program as it is
# released, asked by one that is not.
stage_figures() {
    # A connection for each agent, in two processes.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null
    local peers=$MANY_PEERS
    if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt $((MANY_PEERS + 1000)) ]; then
        peers=$(($(ulimit -n) - 500))
        partly "more than $peers peers (only $(ulimit -n) open files are allowed)"
    fi
    cargo build --locked --release || return 1
    beside_postgres "the figures on PostgreSQL"
    SITEPEER=$PWD/target/release/sitepeer "${BESIDE[@]}" cargo bench --locked --profile dev --bench hub -- --peers "$peers" || return 1
    SITEPEER=$PWD/target/release/sitepeer cargo bench --locked --profile dev --bench fleet -- --routers "$MANY_ROUTERS" || return 1
    grep -E '^  (list, first|add one|change →|new reach|[0-9]+ polls|from a cold|looks, commands|memory)' "$LOGS/figures.log" |
        sed 's/  */ /g; s/^ /figure: /'
}

# The data plane on a kernel that has WireGuard. The emulated machine is slow and has one core busy: it begins earlier (see below), and
# this stage waits for it.
stage_vm() {
    [ -n "${VM:-}" ] || begin_vm
    wait "$VM"
    local code=$?
    VM=
    cat "$LOGS/vm.out"
    [ $code = 77 ] && { skip "$(tail -n 1 "$LOGS/vm.out" | sed 's/^skipped: //')"; return; }
    echo "figure: $(grep -h '^test result: ' "$LOGS/vm.out" | sed 's/^test result: //; s/;.*finished in/ in/' | paste -sd';'), kernel $(
        sed -n 's/^SITEPEER-VM up.*kernel //p' "$LOGS/vm.out")"
    return $code
}

begin_vm() {
    if debian qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio=cpio "${NAMESPACES[@]}"; then
        # A group of its own, so that it can be ended whole.
        setsid tests/vm/run.sh gateway_plane >"$LOGS/vm.out" 2>&1 </dev/null &
    else
        { echo "skipped: $MISSING"; exit 77; } >"$LOGS/vm.out" &
    fi
    VM=$!
}

# With all stages, the machine runs beside those that compile, most of them with one thread.
VM_BESIDE=doctest

# --- main ------------------------------------------------------------------------------------------------------

for name in "${STAGES[@]}"; do
    declare -F "stage_${name//-/_}" >/dev/null || { echo "no stage is called $name; there are: ${ALL[*]}" >&2; exit 2; }
done
trap '[ -z "${VM:-}" ] || kill -- "-$VM" 2>/dev/null' EXIT
for name in "${STAGES[@]}"; do
    if [ "$name" = "$VM_BESIDE" ] && [[ " ${STAGES[*]} " = *" vm "* ]]; then begin_vm >"$LOGS/begin-vm.log" 2>&1; fi
    stage "$name"
done

for name in "${FAILED[@]}"; do why "$name"; done
took="$((SECONDS / 60)) min $((SECONDS % 60)) s"
code=0
if [ ${#FAILED[@]} -gt 0 ]; then
    echo "FAILED in $took: ${FAILED[*]}"
    code=1
else
    echo "OK in $took"
fi
echo "stages: ${#PASSED[@]} passed, ${#FAILED[@]} failed, ${#SKIPPED[@]} skipped"
exit $code
