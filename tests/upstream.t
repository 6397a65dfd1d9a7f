#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The unmodified upstream KVM selftests: what passes on the pristine kernel must
# pass on the patched one. tests/upstream.list says which tests those are, and
# why the others cannot be. What they print is left in build/tests/upstream/.

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/tap.sh"
cd "$(dirname "$(readlink -f "$0")")/.." || exit

# In a directory of our own until the end, for another run may clear build/tests.
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
mkdir "$results"/{patched,unpatched,again}

# -- the list is about these selftests ---------------------------------------

tree=$(lab/tree --unpatched) || exit
every_test_is_listed() {
	diff <(sed '/^#/d; s/\t.*//' tests/upstream.list | sort) <(tests/upstream-record --names "$tree" | sort)
}
check "upstream.list names every generic and x86 selftest" every_test_is_listed

# -- run them on both kernels, at the same time ------------------------------

# Built one after the other, for each takes all processors.
lab/build >/dev/null && lab/build --unpatched >/dev/null && lab/selftests --unpatched >/dev/null || exit

awk -F '\t' '!/^#/ && $2 == "pass" { print $1 ($3 == "-" ? "" : " " $3) }' tests/upstream.list >"$results/tests"
setpriv --pdeathsig TERM tests/upstream-run "$results/patched" <"$results/tests" >"$results/patched/outcomes" &
patched=$!
setpriv --pdeathsig TERM tests/upstream-run --unpatched "$results/unpatched" <"$results/tests" >"$results/unpatched/outcomes" &
unpatched=$!
wait "$patched" || not_ok "the tests run on the patched kernel"
wait "$unpatched" || not_ok "the tests run on the unpatched kernel"

outcome() { awk -v name="$2" '$1 == name { print $2 }' "$results/$1/outcomes"; }
lost() { [[ $(outcome unpatched "$1") == pass && $(outcome patched "$1") != pass ]]; }

# Most of these tests watch the clock in some way, and the machine may be busy:
# what failed for no reason that the kernel gave may try once more, undisturbed.
while read -r test options; do
	! lost "$test" || [[ $(outcome patched "$test") =~ splat|died ]] || echo "$test $options"
done <"$results/tests" >"$results/again/tests"
if [[ -s $results/again/tests ]]; then
	tests/upstream-run "$results/again" <"$results/again/tests" >"$results/again/outcomes" ||
		not_ok "the tests run again on the patched kernel"
fi

# What there is to see of a test on the patched kernel: the end of its output, or
# what the kernel said.
report() {
	local base=$results/patched/${1//\//-}
	if [[ -f $base.splat ]]; then head -n 40 "$base.splat"; else tail -n 15 "$base.out" | cut -c 1-200; fi
}

check "the unpatched kernel passes guest_memfd_test" test "$(outcome unpatched guest_memfd_test)" = pass

while read -r test _; do
	name="$test, no worse than on the unpatched kernel"
	if [[ $(outcome unpatched "$test") != pass ]]; then
		skip "$name" "$(outcome unpatched "$test") on the unpatched kernel too"
	elif ! lost "$test"; then
		ok "$name"
	elif [[ -f $results/again/outcomes && $(outcome again "$test") == pass ]]; then
		ok "$name"
		echo "# $test: $(outcome patched "$test") at first, pass when run again"
	else
		not_ok "$name" "$(outcome patched "$test"): $(report "$test")"
	fi
done <"$results/tests"
mkdir -p build/tests
rm -rf build/tests/upstream
cp -r "$results" build/tests/upstream
done_testing
