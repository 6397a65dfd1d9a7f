# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# For tests that run the upstream selftests: tests/upstream-run DIR >DIR/outcomes
# They read lab/lib.sh first, and run in the root of the project.

upstream_list=tests/upstream-$ARCH.list

# with_options <NAMES: each test with its options in the list, as tests/upstream-run takes them.
with_options() {
	awk -F '\t' 'NR == FNR { if ($3 != "-") options[$1] = " " $3; next } { print $1 options[$1] }' "$upstream_list" -
}

# should_pass: those that pass on the pristine kernel, with their options.
should_pass() { awk -F '\t' '!/^#/ && $2 == "pass" { print $1 }' "$upstream_list" | with_options; }

# outcome DIR TEST: what became of it.
outcome() { awk -v name="$2" '$1 == name { print $2 }' "$1/outcomes"; }

# report DIR TEST: the end of its output, or what the kernel said.
report() {
	local base=$1/${2//\//-}
	if [[ -f $base.splat ]]; then head -n 40 "$base.splat"; else tail -n 15 "$base.out" | cut -c 1-200; fi
}
