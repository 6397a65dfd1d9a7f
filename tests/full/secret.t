#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Guest memory that is not in the direct map (kernel/no-direct-map/); gmem with it.
# needs: base minutes=4

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(lab/kernel --profile base) && selftests=$(lab/selftests) && tests/stress/compile "$work" secret race kdump &&
	gmem=$(lib/build static)/cli/gmem || exit
boot() { lab/boot --kernel "$kernel" --timeout 900 "$@"; }

check guest_memfd_test boot --add "$selftests/guest_memfd_test" -- /bin/guest_memfd_test
test=guest_memfd_no_direct_map_test
relay "$test" boot --add "$selftests/$test" -- "/bin/$test"
relay secret boot "${disk[@]}" --add "$work/secret" -- /bin/secret
# Little memory: a look at all of it takes the less.
relay "race" boot --mem 1G --add "$work/race" --add tests/in-lab/secret -- secret 40
# The crash kernel's init runs the same command, and finds a dump. The panic is a complaint.
# shellcheck disable=SC2016 # the lab's shell expands it
says "kdump: a crash kernel sees all of it" 123 'in the dump: 1024 pages' \
	boot --mem 1G --append crashkernel=256M --add "$work/kdump" --add "$kernel/bzImage" -- sh -c '
		[ -e /proc/vmcore ] && exec kdump
		cd / && find . -xdev ! -type p | cpio -o -H newc >/tmp/initramfs && kdump /bin/bzImage /tmp/initramfs'

# shellcheck disable=SC2016 # the lab's shell expands it
says "gmem load --secret, by every method; gmem probe tells" 0 'NO_DIRECT_MAP' boot --add "$gmem" -- sh -ec '
	gmem probe | grep NO_DIRECT_MAP
	dd if=/dev/urandom of=/tmp/image bs=1M count=9 2>/dev/null
	for method in auto write mmap sendfile io_uring; do
		gmem load --secret --verify --method $method /tmp/image
	done
	gmem load --secret --verify --size 9M - </tmp/image'
relay "gmem run --secret" tests/vmm-run --profile base vmm secret once
done_testing
