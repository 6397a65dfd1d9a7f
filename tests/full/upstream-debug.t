#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The unmodified upstream KVM selftests on the kernel that tells of every mistake it
# can: of those that pass on the pristine kernel (tests/upstream-x86.list) none makes it
# complain, and nothing leaks. Some watch the clock, and this kernel is slow: if those
# fail for no reason that the kernel gave, that is upstream.t's to judge. What they
# print is left in build/tests/upstream-debug/.
# needs: debug alone minutes=12

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
# shellcheck source=tests/upstream.sh
. tests/upstream.sh

results=build/tests/upstream-debug
rm -rf "$results"
mkdir -p "$results"/{odd,even}
should_pass | awk 'NR % 2' >"$results/odd/tests"
should_pass | awk 'NR % 2 == 0' >"$results/even/tests"
lab/kernel --profile debug >/dev/null && lab/selftests --unpatched >/dev/null || exit

# run DIR: the tests of DIR/tests.
run() { setpriv --pdeathsig TERM tests/upstream-run --profile debug "$1" <"$1/tests" >"$1/outcomes"; }

# Two at a time, for most of them wait more than they work.
start=$SECONDS
run "$results/odd" &
odd=$!
run "$results/even" &
even=$!
wait "$odd" || not_ok "the odd tests run"
wait "$even" || not_ok "the even tests run"
passed=0
for half in "$results"/{odd,even}; do
	while read -r test _; do
		outcome=$(outcome "$half" "$test")
		# What is claimed of each: whether it passes is upstream.t's to judge, and counted.
		promise="$test: the kernel has nothing to say"
		case $outcome in
		pass) passed=$((passed + 1)) ;;
		splat | died | '') not_ok "$promise" "$outcome: $(report "$half" "$test")"; continue ;;
		*) report "$half" "$test" | sed "s,^,# $test: $outcome: ," ;;
		esac
		ok "$promise"
	done <"$half/tests"
done
all=$(should_pass | wc -l)
check "nine of ten pass" test $((passed * 10)) -ge $((all * 9))
figure "upstream-debug: $passed of $all selftests passed, in $((SECONDS - start)) s"
done_testing
