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
