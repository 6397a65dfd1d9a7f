#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The benchmark works, and what can be counted of the write engine is as cheap as
# it was. Nothing here goes by the clock.
# needs: base bench minutes=4
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

mkdir -p build
work=$(mktemp -d build/bench-test.XXXXXX) || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

says "bench/run: bad option" 125 'unexpected argument: -x' bench/run -x
says "bench/run: bad size" 125 '--size 12K: a size such as 512M' bench/run --size 12K
says "bench/run: bad rounds" 125 '--rounds 0: a number' bench/run --rounds 0
if [[ ! -e /sys/module/kvm/parameters/gmem_engine ]]; then
	says "bench/run --bare: says what this machine lacks" 125 "this machine's kernel, .*, cannot do it" bench/run --bare --out "$work"
fi

# Instructions
kernel=$(lab/kernel --profile bench) || exit
count() { bench/count --kernel "$kernel" "$@"; }
of() { awk -v m="$1" '$1 == m { print $2 }' "$work/$2"; }
holds() { awk "BEGIN { exit !($1) }"; }

check "no method takes 5 % more instructions than the baseline" \
	count --baseline bench/baseline write overwrite sendfile
awk '!/^#/ { $2 *= 0.9 } { print }' bench/baseline >"$work/cheaper"
says "a dearer engine is found" 1 'write takes [0-9]+ instructions a page, .* % more than' \
	count --baseline "$work/cheaper" write

count write generic copy >"$work/first" && count write generic copy >"$work/second" || exit
for method in write generic copy; do
	a=$(of "$method" first) b=$(of "$method" second)
	check "$method: the count repeats to 1 % ($a, $b)" holds "$a < 1.01 * $b && $b < 1.01 * $a"
done
w=$(of write first) g=$(of generic first) c=$(of copy first)
check "write(): less than the kernel's copy alone, a page at a time ($w, $c)" holds "$w < 0.875 * $c"
count write/0 >"$work/single" || exit
w=$(of write/0 single)
check "write() of single pages: 1.05 of the generic path's at the most, beside the copy ($w, $g, $c)" \
	holds "$w - $c <= 1.05 * ($g - $c)"

count --fragmented write write/0 generic >"$work/fragmented" || exit
w=$(of write fragmented) s=$(of write/0 fragmented) g=$(of generic fragmented)
check "write(): 1.05 of single pages' in fragmented memory at the most ($w, $s)" holds "$w < 1.05 * $s"
check "single pages: 1.05 of the generic path's there at the most ($s, $g)" holds "$s < 1.05 * $g"

count touch touch/0 >"$work/touch" || exit
l=$(of faults touch) s=$(of faults/0 touch)
check "a guest's first touch: 1/400 of the page faults at the most ($l, $s a page)" holds "400 * $l <= $s"

count --size 1M write >"$work/small" && count --size 2G write >"$work/large" || exit
w=$(of write small) g=$(of write large)
check "write(): as many a page for 2 GiB as for 1 MiB, to 10 % ($g, $w)" holds "$w < 1.1 * $g && $g < 1.1 * $w"

count --profile write >"$work/profile" || exit
check "the profile adds up to the count" \
	holds "$(awk '{ sum += $3 } END { print sum }' "$work/profile") > 0.98 * $(of write first)"

# The whole of it, on little memory
check "bench/run" bench/run --size 4M --rounds 1 --out "$work/out"
fields() {
	python3 - "$work/out" <<-'EOF'
		import json, sys, xml.dom.minidom
		out = sys.argv[1]
		r = json.load(open(f"{out}/result.json"))
		assert r["accel"] in ("tcg", "kvm") and r["cpu"] and r["kernel"].startswith("7.3") and r["size_bytes"] == 4 << 20
		for threads in ("threads1", "threads2"):
		    for method in ("memcpy", "write", "generic", "tmpfs_write", "fallocate_write", "overwrite",
		                   "sendfile", "io_uring", "limit", "copy", "madvise", "fallocate", "write/0"):
		        assert r[threads][f"{method}_ms"] > 0, (threads, method)
		        low, high = r[threads]["spread_ms"][method]
		        assert low <= r[threads][f"{method}_ms"] <= high
		    assert r[threads]["ratios"]["to_memcpy"]["memcpy"] == 1
		assert [row["size_bytes"] for row in r["by_size"]][:2] == [4096, 16384]
		assert len(r["by_chunk"]) == 5
		for method in ("memcpy", "write", "generic", "copy"):
		    assert r["instructions_per_page"][method] > 400, method
		for name in ("touch", "faults", "punch"):
		    assert len(r["beside"][name]) == 2, name
		assert 0 < r["neighbour_waits_at_most_us"]["write"] < 1000, "a write() holds off another task for a millisecond"
		for plot in ("time", "orders", "ratios"):
		    svg = xml.dom.minidom.parse(f"{out}/{plot}.svg")
		    assert "write()" in svg.toxml(), plot
		assert "filemap_add_folio" in open(f"{out}/profile.txt").read()
	EOF
}
check "result.json, the profile and the plots have it all, and no task waits for a millisecond" fields

# As with --bare: a kernel that has the flag, and not the peers
lab/kernel >/dev/null && bench/compile "$work/populate-bench" || exit
bare() {
	mkdir -p "$work/bare" && lab/boot --mem 3G --add "$work/populate-bench" --add bench/run-in-lab -- run-in-lab 4096 1 >"$work/bare/samples" &&
		bench/report --accel tcg --size 4096 "$work/bare" "$work/bare"
}
says "the tables do without what the kernel does not have" 0 'write\(\) to tmpfs.*by the size of a write' bare

done_testing
