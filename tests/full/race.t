#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Writers, faults, vCPUs, holes and memslots race for the same pages, and each page
# is looked at: tests/stress/race.
#
#   RACE_SECONDS=N   how long, on each kernel (40 on base, 60 on debug)
#   RACE_SEED=N      of the first round (any)
# needs: base debug minutes=4

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
seed=${RACE_SEED:-$((RANDOM + 1))}
tests/stress/compile "$programs" race || exit

race() {
	local profile=$1 seconds=${RACE_SECONDS:-$2}
	shift 2
	relay "$profile" lab/boot --profile "$profile" --timeout $((seconds + 500)) --add "$programs/race" "$@" \
		--seconds "$seconds" --seed "$seed"
}
race base 40 --smp 4 -- /bin/race
race debug 60 --mem 3G --smp 2 -- /bin/race --secret
done_testing
