#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# arm64: the lab there, and what write() promises, on the base kernel at EL2.
# needs: arm64 minutes=8

export ARCH=arm64
# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(lab/kernel) && selftests=$(lab/selftests) || exit
boot() { lab/boot --quiet --kernel "$kernel" --log "$work/console" "$@"; }

# -- the lab -----------------------------------------------------------------

says "KVM is at EL2, as the host's kernel is" 0 'VHE mode initialized' boot -- sh -c 'dmesg | grep kvm'
# provokes KIND STATUS PATTERN: what the kernel says then is found.
provokes() {
	local status=0
	boot -- sh -c "echo $1 >/sys/kernel/debug/provoke-crash/DIRECT; exit 0" >"$work/out" 2>&1 || status=$?
	says "$1: $3" 0 "$3" lab/splats "$work/console"
	check "$1: status $2" test "$status" = "$2"
}
provokes WARNING 123 'WARNING: .*lkdtm'
provokes BUG 123 'kernel BUG at .*Internal error: Oops - BUG'
provokes EXCEPTION 123 'Unable to handle kernel NULL pointer .*Internal error: Oops'
provokes WRITE_RO 123 'Unable to handle kernel write to read-only memory'
provokes EXHAUST_STACK 122 'Insufficient stack space .*Kernel panic'

# -- the ABI, where the kernel copies by loads and stores, and by MOPS ---------

for cpu in neoverse-n1 neoverse-n2 max; do
	# shellcheck disable=SC2016 # for the lab's shell
	relay "$cpu" boot --numa 2 --qemu-arg -cpu --qemu-arg "$cpu" \
		--add "$selftests/guest_memfd_test" --add "$selftests/guest_memfd_write_test" -- \
		sh -ec 'grep -om 1 mops /proc/cpuinfo || [ $0 != max ]; /bin/guest_memfd_test; /bin/guest_memfd_write_test' "$cpu"
done
at_length boot || exit

# -- races, hostile callers, random operations ----------------------------------

tests/stress/compile "$work" race || exit
relay race boot --timeout 300 --add "$work/race" -- /bin/race --seconds 20 --seed $((RANDOM + 1))
hostile base --mem 5G
says "50 000 operations agree with the model" 0 '(seed [0-9]+: 12500 operations.*){4}' \
	tests/stress/play --ops 12500 --save build/stress 1 2 3 4

# -- libgmem and gmem --------------------------------------------------------

gmem=$(lib/build arm64-static)/cli/gmem || exit
says "gmem probe, and bench" 0 'GUEST_MEMFD_FLAG_WRITE *yes.*write' boot --add "$gmem" -- sh -ec 'gmem probe; gmem bench -s 64M'
relay "gmem" tests/fast/populate.t

done_testing
