#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The base series by itself: what is mailed first must stand without what is on top of it.
# needs: stock minutes=6

export GMEM_SERIES=base
# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/stress/compile "$work" fsx && selftests=$(lab/selftests) || exit

relay guest_memfd_write_test lab/boot --timeout 600 --numa 2 --add "$selftests/guest_memfd_write_test" -- /bin/guest_memfd_write_test
at_length lab/boot || exit
check "25 000 operations agree with the model" lab/boot --timeout 600 --add "$work/fsx" -- /bin/fsx --ops 25000 --seed 1
done_testing
