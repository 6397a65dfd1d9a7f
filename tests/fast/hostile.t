#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Callers that wish write() no good, on the kernel that users run:
# tests/stress/hostile-*.c.
# needs: stock minutes=2

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
# shellcheck source=tests/stress.sh
. "$root/tests/stress.sh"
cd "$root"

hostile stock --smp 2 --mem 5G
done_testing
