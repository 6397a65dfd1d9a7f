#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The unmodified upstream KVM selftests: what passes on the pristine kernel must pass on
# the patched one. tests/upstream-ARCH.list says which tests those are, and why the others
# cannot be. What they print is left in build/tests/upstream-ARCH/.
# needs: base alone minutes=5

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
# shellcheck source=tests/upstream.sh
. tests/upstream.sh

# In a directory of our own until the end, for another run may clear build/tests.
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
mkdir "$results"/{patched,unpatched}

# -- the list is about these selftests ---------------------------------------

tree=$(lab/tree --unpatched) || exit
every_test_is_listed() {
	diff <(sed '/^#/d; s/\t.*//' "$upstream_list" | sort) <(tests/upstream-record --names "$tree" | sort)
}
check "$upstream_list names every generic and $ARCH selftest" every_test_is_listed
says "a test gets the options that the list has for it" 0 '^memslot_perf_test -f [0-9]' with_options <<<memslot_perf_test
says "or none" 0 '^guest_memfd_test$' with_options <<<guest_memfd_test

# -- run them on both kernels ------------------------------------------------

# Built one after the other, for each takes all processors.
lab/kernel --profile base >/dev/null && lab/kernel --profile base --unpatched >/dev/null && lab/selftests --unpatched >/dev/null || exit

# outcomes TEST: on the patched kernel, each time that it was tried.
outcomes() { cat "$results"/{patched,again}/outcomes 2>/dev/null | awk -v name="$1" '$1 == name { print $2 }'; }
broken() { [[ $(outcomes "$1") =~ splat|died ]]; }
# The unmodified guest_memfd_test creates a file with each flag that it is told of, alone.
# NO_OVERWRITE alone is refused; the series' own version, tests/fast/guest_memfd.t, knows.
knows_not_the_flag() {
	[[ $1 == guest_memfd_test ]] && grep -q "guest_memfd() with flag '0x10' should succeed" "$results"/patched/guest_memfd_test.out
}
passed() { { [[ $(outcomes "$1") =~ pass ]] || knows_not_the_flag "$1"; } && ! broken "$1"; }
lost() { [[ $(outcome "$results/unpatched" "$1") == pass ]] && ! passed "$1"; }
all_lost() { while read -r test options; do ! lost "$test" || echo "$test $options"; done <"$results/unpatched/tests"; }

run() { setpriv --pdeathsig TERM tests/upstream-run --profile base "$@" <"${*: -1}/tests" >"${*: -1}/outcomes"; }
# try: on both kernels, at the same time; then, on the patched one, undisturbed, what is lost.
try() {
	local patched unpatched
	if [[ ! -e $results/patched/outcomes ]]; then
		should_pass | tee "$results/unpatched/tests" >"$results/patched/tests"
		run "$results/patched" &
		patched=$!
		run --unpatched "$results/unpatched" &
		unpatched=$!
		wait "$patched" || not_ok "the tests run on the patched kernel"
		wait "$unpatched" || not_ok "the tests run on the unpatched kernel"
	else
		mkdir "$results/again"
		all_lost >"$results/again/tests"
		run "$results/again" || not_ok "the tests run again on the patched kernel"
	fi
	[[ -z $(all_lost) ]]
}
# Most of these tests watch the clock in some way, and the machine may be busy. What the
# patches have broken fails each time; what the kernel complained about is none of that.
watch_the_clock() { while read -r test _; do ! broken "$test" || return 1; done < <(all_lost); }
try_again "upstream selftests" watch_the_clock try || true

check "the unpatched kernel passes guest_memfd_test" test "$(outcome "$results/unpatched" guest_memfd_test)" = pass

while read -r test _; do
	name="$test, no worse than on the unpatched kernel"
	if [[ $(outcome "$results/unpatched" "$test") != pass ]]; then
		skip "$name" "$(outcome "$results/unpatched" "$test") on the unpatched kernel too"
	elif passed "$test"; then
		ok "$name"
		[[ $(outcome "$results/patched" "$test") == pass ]] ||
			echo "# $test: $(outcome "$results/patched" "$test") at first, pass when run again"
	else
		not_ok "$name" "$(outcome "$results/patched" "$test"): $(report "$results/patched" "$test")"
	fi
done <"$results/patched/tests"
mkdir -p build/tests
rm -rf "build/tests/upstream-$ARCH"
cp -r "$results" "build/tests/upstream-$ARCH"
done_testing
