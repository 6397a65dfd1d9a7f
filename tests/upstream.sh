# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# For tests that run the upstream selftests: tests/upstream-run DIR >DIR/outcomes

# should_pass: those that pass on the pristine kernel, as tests/upstream-run takes them.
should_pass() { awk -F '\t' '!/^#/ && $2 == "pass" { print $1 ($3 == "-" ? "" : " " $3) }' tests/upstream.list; }

# outcome DIR TEST: what became of it.
outcome() { awk -v name="$2" '$1 == name { print $2 }' "$1/outcomes"; }

# report DIR TEST: the end of its output, or what the kernel said.
report() {
	local base=$1/${2//\//-}
	if [[ -f $base.splat ]]; then head -n 40 "$base.splat"; else tail -n 15 "$base.out" | cut -c 1-200; fi
}

# run_again DIR OPTION...: most of these tests watch the clock in some way, and the
# machine may be busy: of those of DIR/tests that "lost" tells of, what failed for no
# reason that the kernel gave may try once more, undisturbed, in DIR/again.
run_again() {
	local dir=$1 test options
	shift
	mkdir -p "$dir/again"
	while read -r test options; do
		! lost "$test" || [[ $(outcome "$dir" "$test") =~ splat|died ]] || echo "$test $options"
	done <"$dir/tests" >"$dir/again/tests"
	[[ ! -s $dir/again/tests ]] || tests/upstream-run "$@" "$dir/again" <"$dir/again/tests" >"$dir/again/outcomes"
}

# passed_again DIR TEST
passed_again() {
	[[ -f $1/again/outcomes && $(outcome "$1/again" "$2") == pass ]] || return
	echo "# $2: $(outcome "$1" "$2") at first, pass when run again"
}
