#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem-dkms on a fresh Debian 13 with three of Debian's kernels: dkms builds KVM with
# write() for Linux 7.3 and 7.2, and it works there; Linux 6.12 is left alone; what
# cannot be built is left out, with a reason; without the package all is as it was.
# needs: minutes=10

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

need_space 4500 "a Debian with three kernels"
mkdir -p "$cache/work" "$cache/dkms-debs"
work=$(mktemp -d "$cache/work/dkms.XXXXXX")
trap 'rm -rf "$work"' EXIT
there=$work/debian

# debian COMMAND...: in a Debian 13 that is this test's alone. Packages that were
# downloaded are kept for the next time.
debian() {
	lab/debian --copy "$there" --bind "$cache/dkms-debs:/var/cache/apt/archives" -- "$@" </dev/null
}
install() {
	debian apt-get -qy -o Dpkg::Options::=--force-unsafe-io --no-install-recommends -t trixie-backports install "$@"
}

# said NAME PATTERN: the last command said so.
said() { if grep -qE -- "$2" "$work/said"; then ok "$1"; else not_ok "$1" "$(<"$work/said")"; fi; }
# run NAME COMMAND...: it succeeds; through a pipe, as a terminal's would be no file.
run() {
	local name=$1
	shift
	if "$@" 2>&1 | cat >"$work/said"; then ok "$name"; else not_ok "$name" "$(<"$work/said")"; fi
}

# module KERNEL NAME: the file that modprobe would load there.
module() { modinfo -b "$there" -k "$1" -F filename "$2" | sed "s|^$there||"; }
modules=(kvm kvm-intel kvm-amd)
uses_dkms() {
	local m
	for m in "${modules[@]}"; do
		[[ $(module "$1" "$m") == /lib/modules/$1/updates/dkms/$m.ko* ]] || { module "$1" "$m"; return 1; }
	done
}
uses_its_own() {
	local m
	for m in "${modules[@]}"; do
		[[ $(module "$1" "$m") == /lib/modules/$1/kernel/arch/x86/kvm/$m.ko* ]] || { module "$1" "$m"; return 1; }
	done
}

# boot KERNEL COMMAND...: that kernel, with the modules that modprobe finds there.
boot() {
	local kernel=$1 dir=$work/kernel m file
	shift
	rm -rf "$dir"
	mkdir -p "$dir/modules/lib/modules/$kernel"
	for m in virtio_blk kvm_intel kvm_amd; do
		modprobe -d "$there" -S "$kernel" --show-depends "$m" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | sort -u | while IFS= read -r file; do
		xz -dc "$file" >"$dir/modules/lib/modules/$kernel/$(basename "${file%.xz}")"
	done
	depmod -b "$dir/modules" "$kernel" 2>/dev/null	# of lists that are not there
	cp "$there/boot/vmlinuz-$kernel" "$dir/bzImage"
	echo "$kernel" >"$dir/release"
	lab/boot --quiet --kernel "$dir" --add "$selftests/guest_memfd_write_test" \
		--add "$selftests/x86/sync_regs_test" --add "$static/cli/gmem" "${guest[@]}" -- "$@"
}
guest=()
# boots_guest HOST KERNEL: gmem run boots it, on the other one, to a shell.
boots_guest() {
	local guest=(--add "$there/boot/vmlinuz-$2:/bzImage" --add "$work/initrd:/initrd")
	# shellcheck disable=SC2016 # for the shell there
	boot "$1" sh -c '
		mkfifo in
		gmem run --kernel /bzImage --initrd /initrd <in >out 2>&1 &
		exec 3>in
		until grep -q "guest# " out || ! kill -0 $!; do usleep 100000; done
		echo "uname -r; poweroff -f" >&3
		wait $!
		tail -n 30 out
		grep -q "^$0" out' "$2"
}

# structures KERNEL FILE: every structure that the module knows, with its layout, but for
# that of a file's inode, which virt/kvm/guest_memfd.c has to itself.
structures() {
	xz -dc "$there/$2" >"$there/tmp/module.ko"
	debian pahole -F btf --btf_base "/lib/modules/$1/build/vmlinux" /tmp/module.ko 2>/dev/null |
		sed '/^struct gmem_inode {/,/^}/d'
}
same_structures() {
	local kernel=$1 m stock=/var/lib/dkms/gmem/original_module/$1/x86_64
	for m in "${modules[@]}"; do
		structures "$kernel" "$stock/$m.ko.xz" >"$work/stock" || return
		structures "$kernel" "$(module "$kernel" "$m")" >"$work/ours" || return
		grep -q '^struct kvm {' "$work/stock" || { echo "$m of $kernel tells nothing"; return 1; }
		diff "$work/stock" "$work/ours" || return
	done
}

ported() { kernel/port 7.2 "$work/ported" && diff -r kernel/patches-7.2 "$work/ported"; }
check "what git makes for Linux 7.2 of the patches for 7.3 is what is committed" ported

check "the packages build, and lintian is content" debian/packages "$work/deb"
selftests=$(lab/selftests) || exit
static=$(lib/build static) || exit

check "a fresh Debian 13" debian apt-get -q update
# newest SERIES: the newest of Debian's kernels of it.
newest() { debian apt-cache pkgnames "linux-image-$1." | sed -nE 's/^linux-image-([0-9.]+\+deb[0-9.]+-cloud-amd64)$/\1/p' | sort -V | tail -n 1; }
new=$(newest 7.3) old=$(newest 7.2) other=$(newest 6.12)
if [[ -z $new || -z $old || -z $other ]]; then
	not_ok "the mirror has Linux 7.3, 7.2 and 6.12" "it has '$new', '$old' and '$other'"
	done_testing
	exit
fi
kernels=()
for kernel in "$new" "$old" "$other"; do kernels+=("linux-image-$kernel" "linux-headers-$kernel"); done
run "Linux $new, $old and $other" install initramfs-tools zstd "${kernels[@]}"

cp "$work"/deb/gmem-dkms_*.deb "$there/tmp/"
start=$SECONDS
run "apt install gmem-dkms" install "$(cd "$there" && echo ./tmp/gmem-dkms_*.deb)"
figure "dkms: installed for $new in $(seconds_since "$start"), with linux-source"
check "it is built for $new" uses_dkms "$new"
check "$other is left alone" uses_its_own "$other"
# shellcheck disable=SC2016 # for dpkg-query
version=$(debian dpkg-query -W -f '${Version}' "linux-headers-$old")
said "$old lacks its source, and that is said" "gmem-dkms: no write\(\) for ${old//+/.}: linux-source-7.2 is not installed: apt install linux-source-7.2=${version//+/.}"

# A source of another version than the kernel.
mkdir -p "$work/other/DEBIAN" "$work/other/usr/src"
printf '%s\n' 'Package: linux-source-7.2' 'Version: 7.2~rc1-1' 'Architecture: all' \
	'Maintainer: nobody <nobody@localhost>' 'Description: a source of another version' >"$work/other/DEBIAN/control"
touch "$work/other/usr/src/linux-source-7.2.tar.xz"
dpkg-deb -b "$work/other" "$there/tmp/other.deb" >/dev/null
run "a source of another version" debian dpkg -i /tmp/other.deb
said "it is not used, and that is said" "linux-source-7.2 is 7.2~rc1-1, the kernel is ${version//+/.}: "

start=$SECONDS
run "the source of $old" install "linux-source-7.2=$version"
figure "dkms: built for $old in $(seconds_since "$start"), when its source came"
check "it is built for $old" uses_dkms "$old"

for kernel in "$new" "$old"; do
	check "$kernel: no structure that others know has another layout" same_structures "$kernel"
	check "$kernel: write()'s selftest passes on what dkms installed" boot "$kernel" /bin/guest_memfd_write_test
	run "$kernel: gmem load --verify" boot "$kernel" \
		sh -c 'dd if=/dev/urandom of=image bs=1M count=48 && gmem load --verify image && gmem probe'
	said "$kernel: ... by write()" 'gmem populates guest memory by write here'
done
lab/guest-initrd "$work/initrd" || exit
for kernel in "$new" "$old" "$other"; do
	check "gmem run boots $kernel" boots_guest "$new" "$kernel"
done
run "$other runs a guest with its own modules" boot "$other" sh -c '/bin/sync_regs_test && { gmem probe; true; }'
said "... where gmem probe says what write() takes" '^write\(\) needs Linux 7.3 or 7.2 '

# A build that fails when a kernel is installed.
rm "$there/boot/initrd.img-$new"
mv "$there/usr/bin/x86_64-linux-gnu-gcc-14"{,.orig}
ln -s /bin/false "$there/usr/bin/x86_64-linux-gnu-gcc-14"
run "a kernel is installed when its modules cannot be built" install --reinstall "linux-image-$new"
said "that is said" "gmem-dkms: no write\(\) for ${new//+/.}: the build failed"
check "it has an initrd" test -s "$there/boot/initrd.img-$new"
check "... and its own KVM" uses_its_own "$new"
mv -f "$there/usr/bin/x86_64-linux-gnu-gcc-14"{.orig,}

# What the patches were not made for.
# shellcheck disable=SC2016 # for dpkg-query
gmem=gmem/$(debian dpkg-query -W -f '${Version}' gmem-dkms)
sed -i 's/^index ..../index 0000/' "$there"/usr/src/gmem-*/patches-7.3/*.patch
says "what is not the file that the patches were made for is not patched" 77 'guest_memfd.c of linux-source-7.3 is not what' \
	debian dkms install "$gmem" -k "$new"

# Back.
run "apt purge gmem-dkms" debian apt-get -qy purge gmem-dkms
as_shipped() {
	local kernel packages
	for kernel in "$new" "$old" "$other"; do uses_its_own "$kernel" || return; done
	# shellcheck disable=SC2016 # for dpkg-query
	mapfile -t packages < <(debian dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'linux-image-*' 'linux-modules-*' | sed -n 's/^installed //p')
	debian dpkg -V "${packages[@]}" && ! find "$there"/usr/src/gmem-* "$there/var/lib/dkms/gmem" "$there"/lib/modules/*/updates 2>/dev/null | grep .
}
check "every kernel has the modules that it came with, and nothing is left" as_shipped
run "$old runs a guest with its own modules" boot "$old" sh -c '/bin/sync_regs_test && gmem probe'
said "... without write(), which gmem-dkms would bring" '^write\(\) comes to this kernel with the package gmem-dkms'

debian apt-get -qy autoclean >/dev/null
done_testing
