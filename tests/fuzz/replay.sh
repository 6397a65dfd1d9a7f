# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# shellcheck shell=bash
# For tests that replay the corpus. Needs $work, a directory.

# shellcheck source=tests/tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

# replay DIR TARGET: all inputs, with the programs of DIR. Each must have been run.
# shellcheck disable=SC2154 # $work is the test's
replay() {
	local files
	files=("tests/fuzz/corpus/$2"/*)
	[[ -f ${files[0]} ]] || { echo "tests/fuzz/corpus/$2 is empty"; return 1; }
	timeout 120 "$1/$2" -artifact_prefix=build/fuzz/ -timeout=10 -rss_limit_mb=3000 -malloc_limit_mb=2500 -close_fd_mask=1 "${files[@]}" >"$work/said" 2>&1 ||
		{ tail -n 40 "$work/said"; return 1; }
	[[ $(grep -c '^Executed ' "$work/said") == "${#files[@]}" ]] || { echo "not all were run"; return 1; }
}
