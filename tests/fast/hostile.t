#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Callers that wish write() no good, on the kernel that users run:
# tests/stress/hostile-*.c.
# needs: stock minutes=2

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

hostile stock --smp 2 --mem 5G
done_testing
