#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# 50 000 random operations on a guest_memfd, always the same, agree with a model of it.
# needs: stock

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

says "50 000 operations agree with the model" 0 '(seed [0-9]+: 12500 operations.*){4}' \
	tests/stress/play --profile stock --ops 12500 --save build/stress 1 2 3 4
done_testing
