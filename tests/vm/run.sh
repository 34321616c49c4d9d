#!/usr/bin/env bash
# Runs integration tests in a small virtual machine with a stock kernel: the way to the kernel's own WireGuard where the machine
# at hand has none. Nothing is installed and no disk is made; kernel and machine live under target/vm.
#
#   tests/vm/run.sh TEST…      such as: tests/vm/run.sh gateway_plane 'system two_sites'
#
# TEST is the name of an integration test, perhaps with arguments for it. The tests find SITEPEER_PLANE_BACKEND=kernel.
# Exit code: 0 passed, 77 cannot run here (the last line says why), 1 failed.
#
# Needs: qemu-system-x86, busybox-static, cpio, nftables, iproute2, wireguard-tools, iputils-ping; apt-get to fetch the kernel,
# or its unpacked package named by SITEPEER_VM_KERNEL.

set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

VM=$PWD/target/vm
# The whole run on an emulated processor, beside what else the machine does: eight to fourteen minutes were seen (KVM is not to be had within most virtual machines, and where it half is, it hangs).
DEADLINE=${SITEPEER_VM_DEADLINE:-1800}
MEMORY_MIB=${SITEPEER_VM_MEMORY:-2048}
# Parts of the kernel that the tests need, and that load what they need by themselves.
MODULES=(net drivers/net/wireguard drivers/net/veth.ko drivers/net/tun.ko drivers/net/dummy.ko crypto lib arch/x86/crypto)
# busybox has some of these too, but an `ip` that knows less, and an `nsenter` that would call it.
PROGRAMS=(nft ip wg ping nsenter)

cannot() { echo "skipped: $*"; exit 77; }

[ $# -gt 0 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
[ "$(uname -m)" = x86_64 ] || cannot "the machine's kernel is for x86_64, this is $(uname -m)"
PATH=$PATH:/usr/sbin:/sbin
for program in qemu-system-x86_64 busybox cpio "${PROGRAMS[@]}"; do
    command -v "$program" >/dev/null || cannot "$program is missing"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then cannot "busybox is not static: install busybox-static"; fi

# --- the kernel ------------------------------------------------------------------------------------------------

kernel=${SITEPEER_VM_KERNEL:-}
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-/ {print $2; exit}')
    [ -n "$package" ] || cannot "no package linux-image-cloud-amd64 to take a kernel from"
    kernel=$VM/$package
    if [ ! -d "$kernel/boot" ]; then
        rm -rf "$VM/download" && mkdir -p "$VM/download"
        (cd "$VM/download" && apt-get download "$package") || cannot "the kernel $package cannot be fetched"
        dpkg -x "$VM"/download/*.deb "$kernel.part" && mv "$kernel.part" "$kernel" || exit 1
        rm -rf "$VM/download"
    fi
fi
image=$(ls "$kernel"/boot/vmlinuz-* 2>/dev/null | tail -n 1)
[ -n "$image" ] || cannot "no kernel in $kernel"
version=${image##*/vmlinuz-}

# --- the tests -------------------------------------------------------------------------------------------------

root=$VM/root
rm -rf "$root"
mkdir -p "$root"/{bin,sbin,dev,proc,sys,etc,usr/bin,usr/sbin,root}

# put FILE [PLACE]: a file of this machine into the virtual one, with the libraries it needs.
put() {
    local place=$root${2:-$1} library
    mkdir -p "$(dirname "$place")"
    cp -L "$1" "$place"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do
        [ -e "$root$library" ] || { mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; }
    done
}

names=()
for test in "$@"; do names+=(--test "${test%% *}"); done
built=$(cargo test --locked --no-run "${names[@]}" 2>&1) || { echo "$built"; exit 1; }
: >"$root/tests.list"
for test in "$@"; do
    name=${test%% *}
    arguments=${test#"$name"}
    program=$(sed -n "s|.*Executable tests/$name[/.].*(\(.*\))\$|\1|p" <<<"$built" | tail -n 1)
    [ -n "$program" ] || { echo "no integration test is called $name"; exit 1; }
    put "$PWD/$program"
    strip --strip-debug "$root$PWD/$program"
    echo "$PWD/$program --test-threads=1 --nocapture$arguments" >>"$root/tests.list"
done
# Tests know the program by the place where it was built.
put "$PWD/target/debug/sitepeer" && strip --strip-debug "$root$PWD/target/debug/sitepeer"
echo "export SITEPEER_PLANE_BACKEND=kernel RUST_BACKTRACE=1" >"$root/tests.env"

# --- the rest of its file system -------------------------------------------------------------------------------

put "$(command -v busybox)" /bin/busybox
ln -s /bin/busybox "$root/sbin/modprobe"
# In /usr, which its PATH names first: busybox has programs of the same names.
for program in "${PROGRAMS[@]}"; do put "$(command -v "$program")" "/usr/bin/$program"; done
if command -v wireguard-go >/dev/null; then put "$(command -v wireguard-go)" /usr/bin/wireguard-go; fi
echo "127.0.0.1 localhost" >"$root/etc/hosts"
echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
echo "root:x:0:" >"$root/etc/group"
for part in "${MODULES[@]}"; do
    from=$kernel/lib/modules/$version/kernel/$part
    [ -e "$from" ] || continue
    mkdir -p "$root/lib/modules/$version/kernel/$(dirname "$part")"
    cp -r "$from" "$root/lib/modules/$version/kernel/$(dirname "$part")/"
done
cp "$kernel/lib/modules/$version"/modules.builtin* "$kernel/lib/modules/$version/modules.order" "$root/lib/modules/$version/"
busybox depmod -b "$root" "$version" || exit 1
cp tests/vm/init.sh "$root/init" && chmod 755 "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$VM/initramfs.gz" || exit 1
rm -rf "$root"

# --- run -------------------------------------------------------------------------------------------------------

console=$VM/console.log
# Without a random number generator that the kernel trusts, WireGuard drops handshakes until it is seeded by itself.
timeout --foreground "$DEADLINE" qemu-system-x86_64 \
    -accel "${SITEPEER_VM_ACCEL:-tcg,thread=multi}" -cpu max,+rdrand -smp 2 -m "$MEMORY_MIB" \
    -nodefaults -no-user-config -nographic -serial stdio -no-reboot -kernel "$image" -initrd "$VM/initramfs.gz" \
    -append "console=ttyS0 random.trust_cpu=on panic=-1 loglevel=4" </dev/null 2>&1 |
    stdbuf -oL tr -d '\r' | tee "$console"
code=${PIPESTATUS[0]}
rm -f "$VM/initramfs.gz"
[ "$code" = 124 ] && { echo "the machine did not end within $DEADLINE s"; exit 1; }
grep -q '^SITEPEER-VM up' "$console" || cannot "the machine did not come up: $(tail -n 1 "$console")"
if grep -q '^SITEPEER-VM no module' "$console"; then echo "modules are missing"; exit 1; fi
grep -qx 'SITEPEER-VM exit 0' "$console"
