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
mkdir -p "$results"
should_pass >"$results/tests"
lab/build --profile debug >/dev/null || exit

start=$SECONDS
tests/upstream-run --profile debug --time-limit 300 "$results" <"$results/tests" >"$results/outcomes" ||
	not_ok "the tests run"
lost() { [[ $(outcome "$results" "$1") != pass ]]; }
run_again "$results" --profile debug --time-limit 300 || not_ok "the tests run again"
figure "upstream-debug: $(wc -l <"$results/tests") selftests in $((SECONDS - start)) s"

while read -r test _; do
	if ! lost "$test" || passed_again "$results" "$test"; then
		ok "$test"
	else
		not_ok "$test" "$(outcome "$results" "$test"): $(report "$results" "$test")"
	fi
done <"$results/tests"
done_testing
