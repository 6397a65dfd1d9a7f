#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The unmodified upstream KVM selftests on the kernel that tells of every mistake it
# can: what passes on the pristine kernel (tests/upstream.list) passes there, the kernel
# has nothing to say, and nothing leaks. What they print is left in
# build/tests/upstream-debug/.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/tap.sh"
cd "$(dirname "$(readlink -f "$0")")/.." || exit
# shellcheck source=tests/upstream.sh
. tests/upstream.sh

results=build/tests/upstream-debug
rm -rf "$results"
mkdir -p "$results"/{odd,even}
should_pass | awk 'NR % 2' >"$results/odd/tests"
should_pass | awk 'NR % 2 == 0' >"$results/even/tests"
lab/build --profile debug >/dev/null && lab/selftests --unpatched >/dev/null || exit

# run DIR: the tests of DIR/tests.
run() { setpriv --pdeathsig TERM tests/upstream-run --profile debug --time-limit 300 "$1" <"$1/tests" >"$1/outcomes"; }

# Two at a time, for most of them wait more than they work.
start=$SECONDS
run "$results/odd" &
odd=$!
run "$results/even" &
even=$!
wait "$odd" || not_ok "the odd tests run"
wait "$even" || not_ok "the even tests run"
for half in "$results"/{odd,even}; do
	lost() { [[ $(outcome "$half" "$1") != pass ]]; }
	run_again "$half" --profile debug --time-limit 300 || not_ok "the tests run again"
	while read -r test _; do
		if ! lost "$test" || passed_again "$half" "$test"; then
			ok "$test"
		else
			not_ok "$test" "$(outcome "$half" "$test"): $(report "$half" "$test")"
		fi
	done <"$half/tests"
done
figure "upstream-debug: $(should_pass | wc -l) selftests in $((SECONDS - start)) s"
done_testing
