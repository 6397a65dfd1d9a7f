#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The lab's own tests: what it prints, how it fails, what it leaves behind.
# needs: stock base minutes=5

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

lab=$root/lab

# On the cache's file system, for trees are hard-linked from there.
mkdir -p "$cache"
tmp=$(mktemp -d -p "$cache" test.XXXXXX)
trap 'rm -rf "$tmp"' EXIT

# gives STATUS OUT-REGEX ERR-REGEX COMMAND...: exit status, stdout and stderr.
gives() {
	local status=0 want=$1 out=$2 err=$3
	shift 3
	"$@" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	echo "status $status, wanted $want; stdout, wanted /$out/:"
	cat "$tmp/out"
	echo "stderr, wanted /$err/:"
	cat "$tmp/err"
	[[ $status == "$want" && $(<"$tmp/out") =~ ^($out)$ && $(<"$tmp/err") =~ $err ]]
}

# own_cache COMMAND...: with a cache of our own, with no more than the test put there.
own_cache() { XDG_CACHE_HOME=$tmp/cache "$@"; }
nothing_left() { [[ -z $(find "$tmp/cache" -name '.partial*') ]]; }

# -- the scripts -------------------------------------------------------------

scripts=(packages fetch tree debian foreign stock accel kernel boot selftests)

helps_on_a_screen() {
	local help
	help=$("$lab/$1" --help) && [[ $help == Usage:* ]] && (($(wc -l <<<"$help") <= 36))
}
for s in "${scripts[@]}"; do
	check "lab/$s --help fits a screen" helps_on_a_screen "$s"
	check "lab/$s refuses an unknown option" gives 125 '' "^lab/$s: .*--nonsense.*--help" "$lab/$s" --nonsense
done
check "lab/packages is silent when nothing is missing" gives 0 '' '^$' "$lab/packages"

# -- the source --------------------------------------------------------------

pristine=$("$lab/fetch") || { echo "Bail out! no kernel source"; exit 1; }

fake_kernel() {
	mkdir -p "$tmp/fake/virt/kvm"
	touch "$tmp/fake/virt/kvm/guest_memfd.c"
	printf 'VERSION = 6\nPATCHLEVEL = 18\n' >"$tmp/fake/Makefile"
}
fake_kernel
check "KERNEL_SRC that is no kernel is refused" \
	gives 125 '' "KERNEL_SRC=/etc is not" env KERNEL_SRC=/etc "$lab/fetch"
check "KERNEL_SRC of another version is refused" \
	gives 125 '' "is Linux 6.18, the patches are for 7.3" env KERNEL_SRC="$tmp/fake" "$lab/fetch"
check "and so it is by the steps that need it" \
	gives 125 '' "is Linux 6.18, the patches are for 7.3" env KERNEL_SRC="$tmp/fake" "$lab/boot" -- true
check "KERNEL_SRC of the right version is taken" \
	gives 0 "${pristine//+/\\+}" '^$' env KERNEL_SRC="$pristine" "$lab/fetch"

check "no network and nothing cached: says so" \
	gives 125 '' "cannot reach the Debian mirror .*KERNEL_SRC" own_cache unshare -n "$lab/fetch"
check "... and leaves nothing half-made" nothing_left
mkdir -p "$tmp/cache/gmem/linux"
ln -s "$pristine" "$tmp/cache/gmem/linux/"
check "no network but a cached tree: takes it and says so" \
	gives 0 "$tmp/cache/gmem/linux/.*" "using the cached" own_cache unshare -n "$lab/fetch"

# in_small_cache COMMAND...: with a cache on a file system of 8 MiB.
in_small_cache() {
	mkdir -p "$tmp/small"
	# shellcheck disable=SC2016 # for the inner shell
	unshare -m sh -c 'mount -t tmpfs -o size=8m small "$1" && mkdir -p "$1/gmem/linux" && ln -s "$2" "$1/gmem/linux" &&
		mkdir "$1/gmem/apt" && touch "$1/gmem/apt/checked" && shift 2 && "$@"' - "$tmp/small" "$pristine" \
		env XDG_CACHE_HOME="$tmp/small" "$@"
}
check "no space for a tree: says how much is needed" \
	gives 125 '' "not enough space in $tmp/small/gmem: .* needs [0-9]+ MiB, [0-9]+ MiB are free" \
	in_small_cache "$lab/tree"

# mirror_has LINE...: as if a mirror had just that: PACKAGE VERSION.
mirror_has() {
	printf '#!/bin/sh\ncat <<END\n' >"$tmp/apt-cache"
	while [[ $1 != -- ]]; do
		printf 'Package: %s\nVersion: %s\n\n' "${1% *}" "${1#* }" >>"$tmp/apt-cache"
		shift
	done
	shift
	echo END >>"$tmp/apt-cache"
	chmod +x "$tmp/apt-cache"
	rm -f "$tmp/cache/gmem/apt/checked"
	# shellcheck disable=SC2016 # for the inner shell
	own_cache unshare -m sh -c 'mount --bind "$1" /usr/bin/apt-cache && shift && exec "$@"' - "$tmp/apt-cache" "$@"
}
version=${pristine##*/} newer=7.3.99-1~bpo13+1
mv "$tmp/cache/gmem/linux" "$tmp/cache/gmem/linux-away"
check "a mirror with another series: says which it has, and what to do" \
	gives 125 '' "are for linux-source-7.3, and the mirror has only linux-source-7.2 linux-source-7.4: update .*KERNEL_SRC" \
	mirror_has "linux-source-7.4 7.4.1-1" "linux-source-7.2 7.2.12-1" -- "$lab/fetch"
rm -r "$tmp/cache/gmem/linux"
mv "$tmp/cache/gmem/linux-away" "$tmp/cache/gmem/linux"
check "... but a tree is cached: takes it and says so" \
	gives 0 "$tmp/cache/gmem/linux/.*" "no linux-source-7.3 any more .*using the cached" \
	mirror_has "linux-source-7.4 7.4.1-1" -- "$lab/fetch"
check "a newer source that there is no kernel of is left alone" \
	gives 0 "$tmp/cache/gmem/linux/${version//+/\\+}" '^$' \
	mirror_has "linux-source-7.3 $newer" "linux-source-7.3 $version" "linux-headers-7.3.4+deb13-amd64 $version" \
	"linux-headers-7.3.99+deb13-cloud-amd64 $newer" -- "$lab/fetch"

# -- Debian 13 ---------------------------------------------------------------

check "lab/debian prints its directory" gives 0 "/.*/gmem/debian/[0-9a-f]*" '' "$lab/debian"
check "a command in it: Debian 13, its compiler, its status" gives 7 '13.*gcc-14.*14\..*' '' \
	"$lab/debian" -- sh -c 'cat /etc/debian_version; x86_64-linux-gnu-gcc-14 --version | head -n 1; exit 7'
echo here >"$tmp/bound"
check "what is bound is there, and can be written" gives 0 here '^$' \
	"$lab/debian" --bind "$tmp/bound:/a/b" -- sh -c 'cat /a/b; echo there >/a/b'
check "... and it was" test "$(<"$tmp/bound")" = there
"$lab/debian" -- sh -c 'touch /changed; sleep 1000 & true'
check "what a command changes is gone" gives 1 '' '' "$lab/debian" -- test -e /changed
"$lab/debian" --copy "$tmp/copy" -- touch /changed
check "in a copy it is kept" gives 0 '' '^$' "$lab/debian" --copy "$tmp/copy" -- test -e /changed
check "no mount and no process is left" sh -c "! grep -q '$tmp/copy' /proc/mounts && ! pgrep -x sleep -a | grep -q 'sleep 1000'"
check "something to bind that is not there is named" gives 125 '' "--bind /nowhere: no such file" "$lab/debian" --bind /nowhere -- true

# -- patches -----------------------------------------------------------------

# A checkout of our own, to change the change.
checkout=$tmp/checkout
mkdir -p "$checkout/kernel/files/virt/kvm" "$checkout/kernel/patches-7.3"
cp -r "$lab" "$checkout/lab"
cp -r "$root/kernel/config" "$checkout/kernel/"
: >"$checkout/kernel/files/virt/kvm/coalesced_mmio.c"
cat >"$checkout/kernel/patches-7.3/0001-name.patch" <<'EOF'
--- a/virt/kvm/Kconfig
+++ b/virt/kvm/Kconfig
@@ -1,4 +1,5 @@
 # SPDX-License-Identifier: GPL-2.0
+# a line of ours
 # KVM common configuration items and defaults
 
 config KVM_COMMON
EOF
before=$(cat "$pristine/virt/kvm/Kconfig" "$pristine/virt/kvm/coalesced_mmio.c" | sha256sum)
patched=$(own_cache "$checkout/lab/tree" 2>/dev/null)
check "files and patches reach the tree" \
	sh -c "grep -q 'a line of ours' '$patched/virt/kvm/Kconfig' && ! [ -s '$patched/virt/kvm/coalesced_mmio.c' ]"
check "... and never the pristine one" \
	test "$before" = "$(cat "$pristine/virt/kvm/Kconfig" "$pristine/virt/kvm/coalesced_mmio.c" | sha256sum)"
check "the same change is the same tree" gives 0 "$patched" '^$' own_cache "$checkout/lab/tree"
sed -i 's/KVM common/KVM uncommon/' "$checkout/kernel/patches-7.3/0001-name.patch"
check "a patch that does not apply is named" \
	gives 125 '' "kernel/patches-7.3/0001-name.patch does not apply" own_cache "$checkout/lab/tree"
check "... and so by the steps that need it" \
	gives 125 '' "kernel/patches-7.3/0001-name.patch does not apply" own_cache "$checkout/lab/boot" --profile base -- true

# A tree of the user's own, with a file of ours in it and one that changes.
own_tree() { KERNEL_SRC=$tmp/fake own_cache "$checkout/lab/tree" "$@" 2>/dev/null; }
follows_own_tree() {
	rm "$checkout/kernel/patches-7.3/0001-name.patch"
	sed -i 's/6/7/; s/18/3/' "$tmp/fake/Makefile"
	local one two patched
	one=$(own_tree --unpatched) && patched=$(own_tree) || return
	echo new >>"$tmp/fake/virt/kvm/guest_memfd.c"
	two=$(own_tree --unpatched) || return
	[[ $one != "$two" && ! -s $one/virt/kvm/guest_memfd.c && -s $two/virt/kvm/guest_memfd.c ]] &&
		[[ -e $patched/virt/kvm/coalesced_mmio.c && ! -e $one/virt/kvm/coalesced_mmio.c ]] &&
		[[ $one/Makefile -ef $two/Makefile && ! $two/Makefile -ef $tmp/fake/Makefile ]]
}
check "KERNEL_SRC is copied, patched, and followed when it changes" follows_own_tree

# -- building ----------------------------------------------------------------

check "an unknown profile is named, with those there are" \
	gives 125 '' "no profile nonsense: there is stock .*base" "$lab/kernel" --profile nonsense
echo CONFIG_GMEM_NONSENSE=y >"$checkout/kernel/config/nonsense.config"
check "a setting that the configuration drops is named" \
	gives 125 '' "did not keep CONFIG_GMEM_NONSENSE=y" own_cache "$checkout/lab/kernel" --profile nonsense
check "... and nothing half-built stays" nothing_left

kernel=$("$lab/kernel" --profile base) || { echo "Bail out! no kernel"; exit 1; }
for f in bzImage vmlinux System.map config headers/include/linux/kvm.h release build.log; do
	check "the build has $f" test -s "$kernel/$f"
done
check "a second build does nothing" gives 0 "$kernel" '^$' "$lab/kernel" --profile base

# -- booting -----------------------------------------------------------------

cd /	# everything works from anywhere
boot=("$lab/boot" --kernel "$kernel" --quiet --log "$tmp/console" --timeout 60)
boot() { "${boot[@]}" "$@"; }
no_qemu() { ! pgrep -f "qemu-system.*$tmp/" >/dev/null; }

check "a header says kernel, size and accelerator" \
	gives 0 '' "^lab/boot: Linux $(<"$kernel/release"), 2 cpus, 2G, on (tcg|kvm): .+" \
	"$lab/boot" --kernel "$kernel" --log "$tmp/console" -- true
check "stdout, stderr and status come back" gives 7 out '^err$' boot -- sh -c 'echo out; echo err >&2; exit 7'
check "arguments arrive as they are" gives 0 "<a b><it's><\\\$x><><\*>" '^$' \
	boot -- printf '<%s>' 'a b' "it's" "\$x" '' '*'
# shellcheck disable=SC2016 # for the lab's shell
check "the machine is as asked for" gives 0 '3 1 2 7[0-9][0-9]' '^$' boot --smp 3 --mem 800M --numa 2 --append lab.t=1 -- \
	sh -c 'echo $(nproc) $(grep -c lab.t=1 /proc/cmdline) $(ls -d /sys/devices/system/node/node? | wc -l) $(($(sed -n "s/MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo) / 1024))'
# shellcheck disable=SC2016 # for the lab's shell
check "the machine has KVM and all its mounts" gives 0 ok '^$' boot -- \
	sh -ec 'test -c /dev/kvm; for m in /proc /sys /dev /dev/shm /dev/hugepages /tmp /sys/fs/cgroup /sys/kernel/debug; do grep -q " $m " /proc/mounts; done; echo ok'

big_output() {
	[[ $(boot -- sh -c 'head -c 20000000 /dev/urandom >/tmp/x; cat /tmp/x; sha256sum </tmp/x >&2' 2>"$tmp/sum" | sha256sum) == "$(<"$tmp/sum")" ]]
}
check "20 MB of bytes come through whole" big_output

early_output() {
	local first machine
	coproc "${boot[@]}" -- sh -c 'echo first; sleep 30'
	machine=$COPROC_PID
	read -r -t 20 first <&"${COPROC[0]}"
	kill "$machine"
	wait "$machine"
	[[ $first == first ]]
}
check "output arrives while the command runs" early_output
check "with -v the kernel's messages do, too" gives 0 on 'Linux version 7' boot -v -- echo on

# Until gdb, or who speaks like it, says "continue".
goes_on_by_gdb() {
	boot --gdb -- echo on >"$tmp/out" 2>"$tmp/err" &
	local machine=$! socket=''
	for _ in {1..100}; do
		socket=$(sed -n "s/.*target remote \(.*\)'/\1/p" "$tmp/err")
		[[ ! -S $socket ]] || break
		sleep 0.1
	done
	sleep 3
	# shellcheck disable=SC2016 # of the protocol
	[[ ! -s $tmp/out ]] && python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"$c#63")
while s.recv(4096):
    pass' "$socket"
	wait "$machine" && [[ $(<"$tmp/out") == on && -f $(grep -o '/[^ ]*/vmlinux' "$tmp/err") ]]
}
check "with --gdb it waits for gdb, and says where the symbols are" goes_on_by_gdb
says "or that there are none" 124 'no symbols for gdb: --profile base has' timeout 5 "$lab/boot" --profile stock --gdb -- true

head -c 1M /dev/urandom >"$tmp/in"
truncate -s 1M "$tmp/disk"
sum=$(sha256sum <"$tmp/in")
mkdir -p "$tmp/share"
check "drives cross, read-only unless rw; the share and added files do" gives 0 "ro.*$sum" '^$' \
	boot --drive "$tmp/in" --drive "$tmp/disk,rw" --share "$tmp/share" --add "$tmp/in:/data/in" -- \
	sh -ec 'dd if=/dev/zero of=/dev/vda bs=4k count=1 2>/dev/null || echo ro; cmp /dev/vda /data/in
		cat /dev/vda >/dev/vdb; sync; cp /dev/vda /share/; sha256sum </dev/vda'
check "what was written to the drive is here" cmp "$tmp/in" "$tmp/disk"
check "what was written to the share is here" cmp "$tmp/in" "$tmp/share/vda"
check "a missing --drive is named" gives 125 '' "--drive $tmp/none: no such file" boot --drive "$tmp/none" -- true
check "a dynamic program is refused" gives 125 '' "/bin/ls: dynamically linked" boot --add /bin/ls -- ls
check "QEMU's own words show when it does not start" gives 125 '' "nonsense" boot --qemu-arg -nonsense -- true
check "a command that is not there: 127" gives 127 '' "not found" boot -- nonsense

# -- Debian's kernel ---------------------------------------------------------

"$lab/kernel" --unpatched >/dev/null || { echo "Bail out! no unpatched stock kernel"; exit 1; }
stock=$("$lab/kernel") || { echo "Bail out! no stock kernel"; exit 1; }
check "the stock kernel's image is Debian's" cmp "$stock/bzImage" "$cache"/debian-kernel/"$version"-amd64/usr/lib/modules/"$(<"$stock/release")"/vmlinuz
check "a second build does nothing" gives 0 "$stock" '^$' "$lab/kernel"
# What an edit has changed is built again when the file is as it was, and as old.
edited=$tmp/edited tree=$(GMEM_SERIES=large-folios "$lab/tree") header=include/linux/kvm_host.h
mkdir "$edited"
(cd "$tree" && cp -al --parents virt/kvm arch/x86/kvm arch/x86/include include "$edited")
sed -i 's/GUEST_MEMFD_FLAG_WRITE |//' "$edited/$header"
# modules_of KERNEL: KVM's, in one hash.
modules_of() { (cd "$1/modules" && find . -name 'kvm*.ko' -exec sha256sum {} + | sort | hash); }
other=$(modules_of "$("$lab/kernel" --tree "$edited" 2>/dev/null)")
ln -f "$tree/$header" "$edited/$header"
sed -i '$a /* as before */' "$edited/virt/kvm/guest_memfd.c"
same=$(modules_of "$("$lab/kernel" --tree "$edited" 2>/dev/null)")
check "modules are made of what is there, whatever its time" test "$same" = "$(modules_of "$stock")"
check "and not of something else" test "$other" != "$same"
# shellcheck disable=SC2016 # for the lab's shell
check "it boots with our KVM" gives 0 '.*Debian 7\.3.* OE OE 1' '^$' "$lab/boot" --quiet --accel tcg -- \
	sh -c 'echo $(uname -v) $(cat /sys/module/kvm/taint /sys/module/kvm_amd/taint) $(nproc)'
# shellcheck disable=SC2016 # for the lab's shell
check "unpatched it has Debian's" gives 0 'none 2' '^$' "$lab/boot" --quiet --accel tcg --smp 2 --unpatched -- \
	sh -c 'echo $(cat /sys/module/kvm/taint | grep . || echo none) $(nproc)'
check "drives and the share work there, too" gives 0 "$sum" '^$' "$lab/boot" --quiet --drive "$tmp/in" --share "$tmp/share" -- \
	sh -c 'cat /dev/vda >/share/stock; sha256sum </dev/vda'
check "what was written to the share is here, too" cmp "$tmp/in" "$tmp/share/stock"
check "KERNEL_SRC is not for it" gives 125 '' "KERNEL_SRC .*--profile base" env KERNEL_SRC="$pristine" "$lab/kernel" --profile stock

# -- what goes wrong in the machine ------------------------------------------

lkdtm() { boot -- sh -c "echo $1 >/sys/kernel/debug/provoke-crash/DIRECT; exit 0"; }
check "WARNING: 123, with its words" gives 123 '' "WARNING: .*lkdtm.*the kernel complained" lkdtm WARNING
check "BUG: 123" gives 123 '' "kernel BUG at" lkdtm BUG
check "a bad pointer: 123" gives 123 '' "BUG: kernel NULL pointer" lkdtm EXCEPTION
# More than a pipe holds comes after the words that count.
# shellcheck disable=SC2016 # the lab's shell expands it
flood='echo on >/proc/sys/kernel/printk_devkmsg; for i in $(seq 3000); do echo "lab: line $i of many that are long" >/dev/kmsg; done'
check "a WARNING before a long log: 123" \
	gives 123 '' "WARNING: .*the kernel complained" boot -- sh -c "echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT; $flood"
check "panic: 122" gives 122 '' "Kernel panic.*the machine died" lkdtm PANIC
check "reset: 122" gives 122 '' "the machine died" boot -- sh -c 'echo b >/proc/sysrq-trigger; sleep 9'
check "no end: 124 within the limit" gives 124 '' "time limit of 5 s.*$tmp/console" boot --timeout 5 -- sleep 99
check "a kernel message that only talks of warnings is none" \
	gives 0 '' '^$' boot -- sh -c 'echo "lab: no WARNING: here, no BUG: either" >/dev/kmsg'

# Lines of real kernels, one or more for each pattern of lab/splats; then such as only
# look like them.
cat >"$tmp/splats" <<'LINES'
[   12.345678] ------------[ cut here ]------------
[   12.345678] WARNING: CPU: 1 PID: 97 at virt/kvm/guest_memfd.c:123 kvm_gmem_fault+0x1a/0x20 [kvm]
[   12.345678] WARNING: possible circular locking dependency detected
[   12.345678] WARNING: suspicious RCU usage
[   12.345678] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   12.345678] BUG: unable to handle page fault for address: ffffc90000a3f000
[   12.345678] BUG: sleeping function called from invalid context at mm/memory.c:5900
[   12.345678] BUG: KASAN: slab-use-after-free in filemap_free_folio+0x12/0x60
[   12.345678] BUG: KCSAN: data-race in xas_store / xas_find
[   12.345678] BUG: Bad page state in process gmem  pfn:1a2b3
[   12.345678] Oops: 0000 [#1] PREEMPT SMP NOPTI
[   12.345678] Oops: general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP
[   12.345678] general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP
[   12.345678] kernel BUG at mm/filemap.c:250!
[   12.345678] Kernel panic - not syncing: Fatal exception
[   12.345678] double fault: 0000 [#1] SMP
[   12.345678] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [gmem:97]
[   12.345678] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   12.345678] INFO: task gmem:97 blocked for more than 120 seconds.
[   12.345678] INFO: rcu_sched self-detected stall on CPU
[   12.345678] INFO: trying to register non-static key.
[   12.345678] INFO: possible recursive locking detected
[   12.345678] INFO: lockdep is turned off.
[   12.345678] UBSAN: shift-out-of-bounds in arch/x86/kvm/mmu/mmu.c:100:20
[   12.345678] KASAN: null-ptr-deref in range [0x0000000000000008-0x000000000000000f]
[   12.345678] refcount_t: underflow; use-after-free.
[   12.345678] Bad page map in process gmem  pte:8000000012345867 pmd:12345067
[   12.345678] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
[   12.345678] stack segment: 0000 [#1] SMP
[   12.345678] Unable to handle kernel paging request at virtual address dead000000000108
[   12.345678] Internal error: Oops: 0000000096000004 [#1] SMP
[   12.345678] Insufficient stack space to handle exception!
[   12.345678] list_add corruption. prev->next should be next (ffff888100000000), but was 0000000000000000.
[   12.345678] list_del corruption, ffff888100000000->next is LIST_POISON1 (dead000000000100)
[   12.345678] Memory corruption detected in low memory
[   12.345678][   T97] BUG: KCSAN: data-race in xas_store / xas_find
LINES
cat >"$tmp/no-splats" <<'LINES'
BUG: said by a program, with no time before it
[    0.012345] Kernel command line: console=ttyS0 panic=-1 oops=panic
[    0.012345] lab: no WARNING: here, no BUG: either
[    0.012345] rcu: Hierarchical RCU implementation.
[    0.012345] rcu: 	RCU lockdep checking is enabled.
[    0.012345] watchdog: Delayed init of the lockup detector failed: -19
[    0.012345] kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)
[    0.012345] kmemleak: 0 new suspected memory leaks
[    0.012345] Lockdep: INFO: none
[    0.012345] kasan: KernelAddressSanitizer initialized
[    0.012345] Memory failure: 0x1a2b3: recovery action for dirty LRU page: Recovered
[    0.012345] x86/mm: Memory corruption check is off
LINES
finds_all() { diff <("$lab/splats" "$tmp/splats") <(grep -n ^ "$tmp/splats"); }
check_silent "lab/splats finds each kind of complaint" finds_all
check_silent "and none in what is harmless" "$lab/splats" "$tmp/no-splats"

killed_by() {
	"${boot[@]}" -- sleep 99 &
	sleep 3
	kill -"$1" $!
	wait $! 2>/dev/null
	sleep 0.5
	no_qemu
}
check "SIGTERM leaves no QEMU" killed_by TERM
check "SIGKILL leaves no QEMU" killed_by KILL

twice() {
	"$lab/boot" --kernel "$kernel" --quiet -- sh -c 'sleep 3; echo one' >"$tmp/one" &
	[[ $("$lab/boot" --kernel "$kernel" --quiet -- sh -c 'sleep 3; echo two') == two ]] && wait $! && [[ $(<"$tmp/one") == one ]]
}
check "two at the same time" twice

done_testing
