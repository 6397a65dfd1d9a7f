#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# What write() promises, at length: tests/stress/write-*.c, on the kernel that users run.
# needs: stock minutes=2

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
# shellcheck source=tests/stress.sh
. "$root/tests/stress.sh"
cd "$root"

write_programs+=(write-large)
at_length lab/boot || exit
done_testing
