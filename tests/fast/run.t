#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The runner counts results, fails for what failed, died or was skipped without a known
# reason, and tells of second tries.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# test_of NAME NEEDS LINE...: a test that runs those.
test_of() {
	local name=$1 needs=$2
	shift 2
	{
		echo '#!/bin/bash'
		echo "# needs: $needs"
		echo ". $root/tests/tap.sh"
		printf '%s\n' "$@"
	} >"$work/$name.t"
	chmod +x "$work/$name.t"
}
run() { TEST_LOGS=$work/logs tests/run "$@"; }

test_of good minutes=2 'ok one; ok two' done_testing
test_of alone alone 'ok three' done_testing
test_of bad '' 'ok one; not_ok two why' done_testing
test_of dead '' 'ok one'
test_of known 'processors=99' 'ok one' done_testing
test_of unknown '' 'skip one "too lazy"' done_testing
# shellcheck disable=SC2016 # for the test
test_of again '' 'twice() { [ -e "$0.once" ] || { touch "$0.once"; return 3; }; }' 'excused() { [ "$1" = 3 ]; }' \
	'try_again "a try" excused twice && ok one' done_testing

says "what passes is counted, alone or not" 0 $'\n3 passed, 0 failed, 0 skipped$' run "$work"/{good,alone}.t
says "a failure is one" 1 $'two.*\n1 passed, 1 failed, 0 skipped$' run "$work/bad.t"
says "so is a test without an end" 1 $'\n1 passed, 1 failed, 0 skipped$' run "$work/dead.t"
says "a skip with a known reason is told" 0 $'needs 99 processors.*\n0 passed, 0 failed, 1 skipped$' run "$work/known.t"
says "another one is a failure" 1 $'does not know: .*too lazy.*\n0 passed, 1 failed, 0 skipped$' run "$work/unknown.t"
says "a second try is told" 0 $'\n1 second try:\n  a try: status 3 at first\n1 passed' run "$work/again.t"
says "no such test" 125 'nowhere.t: no such test' run nowhere.t
says "a bad shard" 125 '--shard 0/3: such as 1/3' run --shard 0/3

# Each test is in one part: one of two results in each, and that of one beside the first.
# shellcheck disable=SC2016 # for the inner shell
says "three parts are the whole" 0 $'^ *2 2 passed, [^\n]*\n *1 3 passed' sh -c '
	cp "$1/good.t" "$1/other.t"; cp "$1/good.t" "$1/third.t"
	for i in 1 2 3; do TEST_LOGS=$1/logs tests/run --shard $i/3 "$1"/good.t "$1"/alone.t "$1"/other.t "$1"/third.t | tail -n 1; done | sort | uniq -c' - "$work"
done_testing
