#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Callers that wish write() no good: tests/stress/hostile-*.c.
# needs: base debug minutes=5

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
# shellcheck source=tests/tap.sh
. "$root/tests/tap.sh"
# shellcheck source=tests/stress.sh
. "$root/tests/stress.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
programs=(hostile-source hostile-death hostile-limit hostile-descriptor)
tests/stress/build "$work" "${programs[@]}" || exit
head -c 1M /dev/urandom >"$work/disk"

adds=()
for program in "${programs[@]}"; do
	adds+=(--add "$work/$program")
done
hostile() {
	local profile=$1
	shift
	relay "$profile" lab/boot --profile "$profile" --timeout 900 "$@" "${adds[@]}" --drive "$work/disk" -- \
		sh -c "status=0; for p in ${programs[*]}; do /bin/\$p || status=1; done; exit \$status"
}
# A write of as much as a call can take needs memory for it.
hostile base --smp 4 --mem 5G
hostile debug --smp 2 --mem 3G
done_testing
