#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The upstream guest_memfd selftest, as extended for write(), on two NUMA nodes.
# needs: stock
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

selftests=$(lab/selftests) || exit
check "guest_memfd_test" lab/boot --timeout 300 --numa 2 --add "$selftests/guest_memfd_test" -- /bin/guest_memfd_test
done_testing
