#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# On the kernel that tells of every mistake it can: the selftests, ours and those of
# upstream that have to do with guest_memfd; every failure below write()
# (tests/stress/inject). Then what of our code all that has reached. A leak scan follows.
# What was printed is left in build/tests/debug/. GMEM_SERIES=base has it do so for the base
# series by itself.
# needs: debug alone minutes=14

# shellcheck source=tests/stress.sh
. "$(dirname "$(readlink -f "$0")")/../stress.sh"

kernel=$(lab/kernel --profile debug) && selftests=$(lab/selftests) || exit
dir=build/tests/debug
rm -rf "$dir"
mkdir -p "$dir"
upstream=(guest_memfd_test pre_fault_memory_test private_mem_conversions_test private_mem_kvm_exits_test)
# The first wants a node that was never full.
ours=(write-{place,abi,source,pipe,wait,error,convert} inject upstream guest_memfd_write_test)
tests/stress/compile "$dir/bin" || exit

ended_well() {
	[[ $(cat "$1.status") == 0 ]] || { tail -n 20 "$1.tap"; return 1; }
}
# boot NAME PROGRAM...: one after the other. In $dir/NAME is what they print, and what gcov
# has counted.
boots=()
boot() {
	local counts=$dir/$1 start=$SECONDS program adds=()
	boots+=("$counts")
	mkdir "$counts"
	for program in "${@:2}"; do
		adds+=(--add "$(find "$selftests" "$dir/bin" -name "$program" -type f)")
	done
	check_silent "$1: the debug kernel has nothing to say, and nothing has leaked" \
		lab/boot --quiet --kernel "$kernel" --timeout 3600 --mem 2G --numa 2 --log "$dir/console-$1" "${disk[@]}" \
		"${adds[@]}" --add tests/in-lab/debug --share "$counts" -- debug "${@:2}"
	figure "debug: ${*:2} in $((SECONDS - start)) s"
	for program in "${@:2}"; do
		check "debug: $program" ended_well "$counts/$program"
		[[ " ${upstream[*]} " == *" $program "* ]] || relay "debug: $program" cat "$counts/$program.tap"
	done
}
boot write "${upstream[@]}" "${ours[@]}"
figure "debug: $(grep -oE '[0-9]+ made to fail' "$dir/write/inject.tap" | awk '{ n += $1 } END { print n + 0 }') failures injected"
# It wants memory that is in one piece.
[[ $GMEM_SERIES == base ]] || boot large write-large
# They cut the direct map, and have other things fail.
[[ $GMEM_SERIES != no-direct-map ]] || boot secret secret guest_memfd_no_direct_map_test

gcc -O2 -Wall -Wextra -Werror -static -o "$dir/bin/leave" tests/in-lab/leave.c || exit
says "a guest_memfd that nobody closed is noticed" 123 'BUG: 16 pages of guest_memfd are left' \
	lab/boot --quiet --kernel "$kernel" --mem 1G --log "$dir/console-leave" --add "$dir/bin/leave" -- leave

status=0
table=$(tests/coverage/report "$kernel" "${boots[@]}" 2>&1) || status=$?
while IFS= read -r line; do
	figure "coverage: $line"
done < <(grep -v '^# ' <<<"$table")
grep '^# ' <<<"$table" || true
check "the tests reach every line and branch, or tests/coverage/unreached says why not" test "$status" = 0
done_testing
