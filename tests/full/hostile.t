#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Callers that wish write() no good: tests/stress/hostile-*.c.
# needs: base debug minutes=4

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

hostile base --smp 4 --mem 5G
hostile debug --smp 2 --mem 3G
done_testing
