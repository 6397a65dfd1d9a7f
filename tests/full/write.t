#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# What write() promises, at length: tests/stress/write-*.c, on the kernel that users run.
# needs: stock minutes=2

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

write_programs+=(write-large)
at_length lab/boot || exit
done_testing
