# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# Run libgmem's unit tests: a result for each program, which says how many tests it has,
# and one for those that cannot be run, with the reasons. They are not lost: on the patched
# kernel none may be skipped (tests/full/lib.t).

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/tap.sh"

export CMOCKA_MESSAGE_OUTPUT=TAP

# reasons FILE: why tests were skipped: what each said last, with or without cmocka's "# ".
reasons() { grep -B 1 '^not ok [0-9]* # SKIP' "$1" | grep -vE '^(not ok .*|--)$' | sed 's/^# //' | sort -u | paste -sd ';'; }

# report NAME STATUS FILE [--all]: what a program wrote is fine; nothing may be skipped.
report() {
	local name=$1 status=$2 file=$3 passed skipped
	passed=$(grep -c '^ok [0-9]* - ' "$file") || true
	skipped=$(grep -c '^not ok [0-9]* # SKIP' "$file") || true
	if [[ $status == 0 && $passed != 0 && (${4-} != --all || $skipped == 0) ]] &&
		! grep '^not ok' "$file" | grep -qv '# SKIP'; then
		ok "$name: $passed tests"
		((!skipped)) || skip "$name: $skipped of its tests" "$(reasons "$file")"
	else
		not_ok "$name: $passed tests" "status $status: $(grep -v '^ok ' "$file" | tail -n 60)"
	fi
}

# units NAME VARIANT COMMAND...: run all unit tests of lib/build VARIANT by COMMAND.
units() {
	local name=$1 dir=build/$2 test status out
	shift 2
	out=$(mktemp)
	for test in "$dir"/lib/tests/test-*; do
		[[ -f $test && -x $test ]] || continue
		status=0
		timeout 900 "$@" "$test" >"$out" 2>&1 || status=$?
		report "$name: ${test##*/test-}" "$status" "$out"
	done
	rm -f "$out"
}
