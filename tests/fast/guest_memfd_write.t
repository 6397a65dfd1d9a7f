#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The selftest of write() to guest_memfd, on two NUMA nodes. It speaks TAP itself.
# needs: stock
cd "$(dirname "$(readlink -f "$0")")/../.." || exit

selftests=$(lab/selftests) || exit
exec lab/boot --timeout 600 --numa 2 --add "$selftests/guest_memfd_write_test" -- /bin/guest_memfd_write_test
