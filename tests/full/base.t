#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The base series by itself: what is mailed first must stand without what is on top of it.
# needs: stock minutes=6

# shellcheck source=lab/lib.sh
export GMEM_SERIES=base
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
# shellcheck source=tests/stress.sh
. "$root/tests/stress.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=(write-abi write-source write-pipe write-error write-wait write-place)
tests/stress/compile "$work" "${programs[@]}" fsx && selftests=$(lab/selftests) || exit

boot=(lab/boot --timeout 600 --numa 2 --mem 2G)
relay guest_memfd_write_test "${boot[@]}" --add "$selftests/guest_memfd_write_test" -- /bin/guest_memfd_write_test
for program in "${programs[@]}"; do
	relay "$program" "${boot[@]}" --add "$work/$program" -- "/bin/$program"
done
check "25 000 operations agree with the model" lab/boot --timeout 600 --add "$work/fsx" -- /bin/fsx --ops 25000 --seed 1
done_testing
