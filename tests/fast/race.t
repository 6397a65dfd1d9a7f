#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Ten seconds of tests/stress/race on the kernel that users run. tests/full/race.t has
# more of it, on kernels that see more.
# needs: stock

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/stress/compile "$work" race || exit
relay stock lab/boot --quiet --smp 2 --timeout 300 --add "$work/race" -- /bin/race --seconds 10 --seed $((RANDOM + 1))
done_testing
