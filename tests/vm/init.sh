#!/bin/busybox sh
# The first process of the virtual machine: brings up what a test needs, runs it, says how it ended, and powers off.
# Its words are read from the serial console by run.sh.

/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# What devtmpfs leaves to udev: programs read their configuration from /dev/stdin.
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
# /tmp is in RAM like everything here; a file system of its own would hide a tree that was built there.
mkdir -p /dev/pts /tmp /run/netns /root
mount -t tmpfs tmpfs /run
mkdir -p /run/netns

# The kernel's own requests for modules come to busybox's modprobe; these are named, so that one missing is said.
echo /sbin/modprobe >/proc/sys/kernel/modprobe
for module in wireguard veth tun nf_tables nf_conntrack nft_ct nft_chain_nat nft_nat nft_masq nft_reject_inet; do
    modprobe "$module" || echo "SITEPEER-VM no module $module"
done
ip link set lo up
echo # what the firmware left of a line
echo "SITEPEER-VM up after $(cut -d' ' -f1 /proc/uptime) s, kernel $(uname -r)"

# shellcheck disable=SC1091 # made by run.sh
. /tests.env
code=0
while read -r test; do
    echo "SITEPEER-VM begins $test"
    # shellcheck disable=SC2086 # a test is a program and its arguments
    $test 2>&1 || code=1
done </tests.list
echo "SITEPEER-VM exit $code"
sync
poweroff -f
