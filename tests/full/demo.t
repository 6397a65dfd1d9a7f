#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The demo: its image, its figures, and what it says when something is wrong.
# needs: base minutes=3
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"
cd "$(dirname "$(readlink -f "$0")")/../.." || exit

mkdir -p build
work=$(mktemp -d build/demo-test.XXXXXX) || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The RAM image of a real guest
image=$(demo/image) || exit
check "demo/image: 512 MiB" [ "$(stat -c %s "$image")" = 536870912 ]
check "demo/image: kept" [ "$(timeout 20 demo/image)" = "$image" ]
filled() {
	python3 - "$1" <<-'EOF'
		import sys
		image = open(sys.argv[1], "rb")
		pages = [any(page) for page in iter(lambda: image.read(4096), b"")]
		print(f"{sum(pages)} of {len(pages)} pages are not zero")
		sys.exit(sum(pages) < len(pages) / 3)
	EOF
}
check "demo/image: a third of it or more is in use" filled "$image"
says "demo/image: bad option" 125 'unexpected argument: -x' demo/image -x

# The whole of the demo, on less memory
size=$((64 << 20))
head -c "$size" "$image" >"$work/ram"
mkdir "$work/out"
echo stale >"$work/out/result.json"
if said=$(demo/run --out "$work/out" "$work/ram" 2>"$work/messages"); then
	ok "demo/run"
else
	not_ok "demo/run" "status $?: $said$(<"$work/messages")"
fi
has() { if [[ $said =~ $2 ]]; then ok "demo/run tells $1"; else not_ok "demo/run tells $1" "$said"; fi; }
has "the kernel" $'\nKernel +7\\.3'
has "the accelerator" $'\nAccelerator +(tcg|kvm)\n'
has "the processor" $'\nCPU +[^ \n]'
has "the figures of each method, beside the published ones" $'\nmmap \\+ memcpy [^\n]*\\| +436 +1\\.00\nafter madvise [^\n]*\\| +- +-\nwrite\\(\\) [^\n]*\\| +202 +0\\.46\n'
has "what the restored guest answered" $'\nrestored +256 MiB by write\\(\\) in [^\n]*\n[^\n]*\nanswered +the word is mellon\n'
has "whether write() was faster" 'write\(\) was (faster|NOT faster)'
check "demo/run: nothing but the figures is left" [ "$(ls -A "$work/out")" = result.json ]
valid() {
	python3 - "$work/out/result.json" "$size" <<-'EOF'
		import json, statistics, sys
		result = json.load(open(sys.argv[1]))
		assert result["kernel"].startswith("7.3") and result["cpu"]
		assert result["accel"] in ("tcg", "kvm")
		assert result["size_bytes"] == int(sys.argv[2])
		assert result["verified"] is True and result["guest_sum_ok"] is True
		assert [m["name"] for m in result["methods"]] == ["memcpy", "madvise", "write"]
		assert [p["name"] for p in result["published"]] == ["memcpy", "write"]
		memcpy = result["methods"][0]
		for m in result["methods"]:
		    runs = m["runs_ms"]
		    assert len(runs) == 5 and min(runs) > 0
		    assert m["median_ms"] == statistics.median(runs)
		    assert m["min_ms"] == min(runs) and m["max_ms"] == max(runs)
		    assert abs(m["mib_per_s"] - 64000 / m["median_ms"]) < 0.1
		    assert abs(m["ratio_to_memcpy"] - m["median_ms"] / memcpy["median_ms"]) < 0.01
	EOF
}
check "result.json: all keys, five runs of each method, right arithmetic" valid
guest_sum() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["guest_sum"])' "$work/out/result.json"; }
image_sum() {
	python3 - "$work/ram" <<-'EOF'
		import array, sys
		print(f"{sum(array.array('Q', open(sys.argv[1], 'rb').read())) % 2**64:#018x}")
	EOF
}
check "result.json: the guest's sum is that of the file" [ "$(guest_sum)" = "$(image_sum)" ]

# What demo/run refuses before it boots
head -c 4097 /dev/zero >"$work/uneven"
: >"$work/empty"
says "demo/run: no such image" 125 'nowhere: no such file' demo/run "$work/nowhere"
says "demo/run: an image that is a directory" 125 'no such file, or not one to read' demo/run "$work"
says "demo/run: an image that is not whole pages" 125 'uneven has 4097 bytes' demo/run "$work/uneven"
says "demo/run: an empty image" 125 'empty has 0 bytes' demo/run "$work/empty"
says "demo/run: two images" 125 'one IMAGE at a time' demo/run "$work/ram" "$work/ram"
says "demo/run: bad option" 125 'no such option: --speed' demo/run --speed

# What the program refuses, and what it finds out, in the lab
check "demo/build" demo/build "$work/populate"
check "demo/build: clang" env CC=clang-19 demo/build "$work/populate-clang"
check "demo/build: the sabotaged program" \
	demo/build "$work/populate-sabotaged" tests/demo-sabotage.c -Wl,--wrap=write,--wrap=memcmp,--wrap=ioctl
head -c 1M "$work/ram" >"$work/small"

cases=()
in_lab() { cases+=("$1" "$2" "$3" "$4"); }	# NAME STATUS PATTERN COMMAND
in_lab "--help" 0 '^Usage: populate .*Exit status' 'populate --help'
in_lab "no image given" 2 '^populate: which IMAGE' 'populate'
in_lab "two images" 2 '^populate: one IMAGE' 'populate /share/small /share/small'
in_lab "bad option" 2 '--speed.*Try populate --help' 'populate --speed /share/small'
in_lab "no such image" 1 '^populate: cannot open the image /nowhere: No such file' 'populate /nowhere'
in_lab "an image that is a directory" 1 'the image /bin is neither a file nor a block device' 'populate /bin'
in_lab "an image that is a character device" 1 'is neither a file nor' 'populate /dev/zero'
in_lab "an empty image" 1 'the image /share/empty is empty' 'populate /share/empty'
in_lab "an image that is not whole pages" 1 'has 4097 bytes, which is not a multiple of the page size' 'populate /share/uneven'
in_lab "figures that cannot be written" 1 'cannot create /nowhere/j' 'populate --json /nowhere/j /share/small'
in_lab "an image on 9p, built by clang" 0 "is the host's sum" 'populate-clang /share/small'
in_lab "an image in the initramfs" 0 "is the host's sum" 'cp /share/small /small && populate /small'
in_lab "a bit that write() got wrong" 1 'verification failed: the byte at 0xff800 is' \
	'SABOTAGE=write populate-sabotaged --json /share/wrong.json /share/small'
in_lab "a bit that only the guest sees" 1 "all are right.*NOT the host's sum" \
	'SABOTAGE=sum populate-sabotaged --json /share/unseen.json /share/small'
in_lab "a guest that dies" 1 'the guest died' 'SABOTAGE=guest populate-sabotaged /share/small'
in_lab "no /dev/kvm" 1 'there is no /dev/kvm' 'rm /dev/kvm; populate /share/small'

for ((i = 0; i < ${#cases[@]}; i += 4)); do
	printf '(%s) >/share/said.%d 2>&1; echo $? >/share/status.%d\n' "${cases[i + 3]}" "$i" "$i"
done >"$work/commands"
check "the lab runs the program" lab/boot --timeout 200 --share "$work" \
	--add "$work/populate" --add "$work/populate-clang" --add "$work/populate-sabotaged" -- sh /share/commands
for ((i = 0; i < ${#cases[@]}; i += 4)); do
	replay() { cat "$work/said.$i"; return "$(<"$work/status.$i")"; }
	says "populate: ${cases[i]}" "${cases[i + 1]}" "${cases[i + 2]}" replay
done
holds() { python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); assert [r["verified"], r["guest_sum_ok"]] == json.loads(sys.argv[2])' "$@"; }
check "result.json tells of the bit that write() got wrong" holds "$work/wrong.json" '[false, false]'
check "result.json tells of the bit that only the guest sees" holds "$work/unseen.json" '[true, false]'

# A kernel without the flag
says "populate: a kernel without GUEST_MEMFD_FLAG_WRITE" 1 'cannot populate guest_memfd by write\(\): .* boot one with' \
	lab/boot --unpatched --timeout 100 --share "$work" --add "$work/populate" -- populate --json /share/unpatched.json /share/small
check "populate: no figures from a kernel without it" [ ! -e "$work/unpatched.json" ]

done_testing
