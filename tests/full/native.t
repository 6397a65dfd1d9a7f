#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# write() in User-Mode Linux: what it and its rivals write there is right, and
# bench/native reports what it should. How fast it is, is not for a test to say.
# needs: processors=2 minutes=4

# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

refused() { ! bench/native "$@" >/dev/null 2>&1; }
check "a size that is no multiple of 16 MiB is refused" refused --size 100
check "no rounds are refused" refused --rounds 0

if [[ $(id -u) != 0 || $(nproc) -lt 2 ]]; then
	skip "User-Mode Linux runs the engine" "needs root, and two processors"
	done_testing
	exit
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# It fails, and there is no file, unless what either path wrote reads back.
check "User-Mode Linux writes, and reads back what it wrote" \
	bench/native --size 32 --rounds 2 --out "$scratch/native.json"

fields() {
	/usr/bin/python3 - "$scratch/native.json" <<-'EOF'
		import json, sys

		result = json.load(open(sys.argv[1]))
		assert result["verified"] is True and result["processors"] == 2, result
		assert result["kernel"].startswith("7.3") and result["cpu"]
		jobs = {(job["size_bytes"] >> 20, job["threads"]): job for job in result["jobs"]}
		assert sorted(jobs) == [(4, 1), (4, 2), (32, 1), (32, 2)], jobs.keys()
		for job in jobs.values():
		    for method in "write write/0 generic loop batch block copy copy_over copy_fresh overwrite tmpfs_write".split():
		        low, high = job["spread_ms"][method]
		        assert 0 < low <= job[method + "_ms"] <= high, (job, method)
	EOF
}
check "the JSON has its fields" fields

done_testing
