#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The parsers of libgmem and gmem: the corpus shows what was mended, should it break
# again, and the tool is given files and options of the worst kind. tests/fast/fuzz.t
# replays the corpus as it is.

# shellcheck source=tests/fuzz/replay.sh
. "$(dirname "$(readlink -f "$0")")/../fuzz/replay.sh"

work=$(mktemp -d)
trap 'chmod -R u+rwx "$work"; rm -rf "$work"' EXIT

# -- the fuzzer ----------------------------------------------------------------------

check "the fuzz targets build" tests/fuzz/compile "$root/build/fuzz/bin"

# A machine that stands still is no input that hangs. The alarm that libFuzzer has set
# may go to any thread that was stopped; only its own says that an input took too long.
alarm_main_thread() { python3 -c 'import ctypes, sys; ctypes.CDLL(None).syscall(234, *2 * [int(sys.argv[1])], 14)' "$1"; }
goes_on() {
	local run held=''
	setpriv --pdeathsig TERM tests/fuzz/run --minutes 1 zstd >"$work/said" 2>&1 &
	run=$!
	until held=$(pgrep -P "$(pgrep -d , -P "$run")" -x zstd 2>/dev/null); do
		kill -0 "$run" || break
		sleep 0.5
	done
	for _ in 1 2 3; do	# it may stop amid no input
		sleep 2
		kill -STOP "$held" || break
		sleep 11
		alarm_main_thread "$held"
		kill -CONT "$held"
		sleep 4
		! grep -q 'on with it' "$work/said" || break
	done
	kill "$run"
	wait "$run"
	cat "$work/said"
	grep -q 'on with it' "$work/said" && ! grep -q FOUND "$work/said"
}
check "a target that was held up has found nothing, and goes on" goes_on

# libFuzzer's signal handlers print. What a target was printing must not stop them.
prints_apart() {
	local run
	rm -f build/fuzz/options.log
	setpriv --pdeathsig TERM tests/fuzz/run --minutes 1 options >"$work/said" 2>&1 &
	run=$!
	until grep -qs INITED build/fuzz/options.log; do
		kill -0 "$run" || break
		sleep 0.5
	done
	kill "$run"
	wait "$run"
	grep -q INITED build/fuzz/options.log && ! grep -a -m 3 '^gmem fuzz: ' build/fuzz/options.log
}
check "what a target prints is not where libFuzzer prints" prints_apart

# What was mended is broken again, in a copy: the corpus shows it. That is always at
# the same place, where ccache knows it.
copy=$root/build/fuzz/broken
rm -rf "$copy"
mkdir -p "$copy"
cp -r --parents tests/fuzz lib cli vmm lab/{lib.sh,arch} "$copy"
broken() {
	local target=$1 file=$2 expression=$3 pattern=$4
	cp "$file" "$copy/$file"
	sed -i "$expression" "$copy/$file"
	! cmp -s "$file" "$copy/$file" || { echo "nothing was changed"; return 1; }
	"$copy/tests/fuzz/compile" "$copy/bin" "$target" || return
	! replay "$copy/bin" "$target" || { echo "nothing was noticed"; return 1; }
	cp "$file" "$copy/$file"
	grep -E "$pattern" "$work/said"
}
# shellcheck disable=SC2016 # C, no shell
{
	check "an order file with a zero byte trips an assertion" \
		broken order lib/order.c 's/if (!c || /if (/' 'it must hold that'
	check "a granule that wraps trips the address sanitizer" \
		broken demand lib/demand.c 's|(length - 1) / granule + 1|(length + granule - 1) / granule|' 'heap-buffer-overflow'
	check "a key too many trips the undefined behaviour sanitizer, or an assertion" \
		broken ports vmm/serial.c 's/if (r->rx_count == SERIAL_FIFO)/if (r->rx_count == 255)/' 'runtime error|it must hold that'
	check "a request that goes on behind a zero byte trips an assertion" \
		broken control vmm/control.c 's/ && strlen(text) == (size_t)len//' 'it must hold that'
	check "what is not freed trips the leak sanitizer" \
		broken order lib/context.c 's/^\tfree(g->order);$//' 'detected memory leaks'
}

# -- the tool, and the worst files ------------------------------------------------------

asan=$(lib/build asan) || { not_ok "gmem builds with the sanitizers"; done_testing; exit; }
gmem=$asan/cli/gmem
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
unset XDG_RUNTIME_DIR

# refused STATUSES TEXT ARG...: it ends with one of these, soon, and says why in one
# line, or two with a hint. What it says and prints is kept for the end.
refused() {
	local statuses=$1 text=$2 status=0 said name lines
	shift 2
	printf -v name '%q ' "${@//"$work/"/}"
	name="gmem ${name:0:100}"
	timeout -k 5 60 "$gmem" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	said=$(tr -d '\0' <"$work/err")
	cat "$work/err" >>"$work/messages"
	if [[ " $* " == *" --json "* && -s $work/out ]]; then cat "$work/out" <(printf '\0') >>"$work/json"; fi
	lines=${said//[!$'\n']/}
	if [[ " $statuses " != *" $status "* ]]; then
		not_ok "$name: status $statuses" "status $status: $said"
	elif [[ $said == *Sanitizer* || $said == *"runtime error"* ]]; then
		not_ok "$name: no sanitizer complains" "$said"
	elif [[ ${#lines} -gt 1 || $said != *"$text"* ]] || { ((status)) && [[ -z $said ]]; }; then
		not_ok "$name: says why${text:+: $text}" "$said"
	else
		ok "$name: status $status"
	fi
}

mkdir "$work/files"
cd "$work/files"
mkdir directory
: >empty
printf x >byte
head -c 10000 /dev/urandom | zstd -q >whole.zst
head -c 5000 whole.zst >cut.zst
truncate -s 8G sparse
printf '\x28\xb5\x2f\xfd\x20\x05' >sparse.zst
truncate -s 16M sparse.zst
printf '\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00' >giant.zst
ln -s loop loop
ln -s nowhere dangling
head -c 8192 /dev/urandom >image
cp image $'new\nline'
cp image $'escape\e[2J\x07'
cp image $'\xff\xfe\x80 \xc2\x9b2J'
cp image ' '
cp image -- --help
cp image secret
chmod 0 secret
long=$(printf 'x%.0s' {1..300})
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
mkfifo fifo
worst=("$work/files"/* "" "$long" "$work/files/image/x" /dev/zero /dev/null /dev/full /proc/self/mem "/proc/self/fd/99")
# Images and orders may come by a pipe, and that be waited for: no pipe among these.
for n in "${!worst[@]}"; do [[ ${worst[n]} != */fifo ]] || unset "worst[$n]"; done

find "$work/files" | sort >"$work/before"
for file in "${worst[@]}"; do
	refused "0 1 2" "" load -- "$file"
	refused "0 1 2" "" load --json --size 1M -- "$file"
	refused "0 1 2" "" load --format zstd --size 1M --verify -- "$file"
	refused "0 1 2" "" load --order="$file" image
	refused "1 2" "" run --kernel="$file"
	refused "1 2" "" run --restore="$file"
	refused "1 2" "" run --restore=image --order="$file"
	refused "1 2" "" snapshot --control="$file" out
	refused "1 2" "" run --kernel=image --record-order="$file"
	refused "125 126 127" "" exec --quiet --size 1M -- "${file:-./nothing}"
done
for file in fifo directory loop /dev/zero; do
	ln -sfn "$file" other.state
	refused 1 "" run --restore=other
done
rm other.state

# However large it is, it can be interrupted, also before anything is populated.
interrupted() {
	timeout -k 60 -s INT 2 "$gmem" load --size 12T huge >"$work/out" 2>"$work/err" || [[ $? == 124 ]] || return
	cat "$work/err"
	grep -q ': cancelled ' "$work/err" || grep -q '12 TiB populated' "$work/out"
}
truncate -s 12T huge
if "$gmem" probe --quiet 2>/dev/null; then check "an image of 12 TiB is done soon, or interrupted" interrupted; fi
truncate -s 12T sparse.zst
refused "1 2" "" load sparse.zst
rm huge

# Root reads anything, unless it may not override modes.
denied() { setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$gmem" load secret 2>&1; }
if said=$(denied); then not_ok "a file that may not be read" "$said"; else check "a file that may not be read: why" grep -q '^gmem load: secret: Permission denied' <<<"$said"; fi

# Names that a terminal, or JSON, must not get as they are.
if "$gmem" probe --quiet 2>/dev/null; then
	refused 1 "is no regular file" run --kernel fifo
	refused 1 "are more than any guest memory" load --offset 18446744073709547520 image
	refused 2 "--size is needed: giant.zst" load giant.zst
	refused 2 "--size is needed: sparse.zst" load sparse.zst
	refused 1 'new\nline: ' load --size 4096 $'new\nline'
	refused 1 'escape\x1b[2J\x07: ' load --size 4096 $'escape\e[2J\x07'
	refused 1 '\xff\xfe\x80 \xc2\x9b2J: ' load --size 4096 $'\xff\xfe\x80 \xc2\x9b2J'
	refused 0 "" load --json $'\xff\xfe\x80 \xc2\x9b2J'
	check "that name in JSON" grep -q '"image": "\\ufffd\\ufffd\\ufffd '$'\xc2\x9b''2J"' "$work/out"
else
	skip "images and names" "nothing can populate guest memory here"
fi

refused 2 "" load -
refused 2 "" load -- --no-such --file

cd "$root"
check_silent "gmem left no files" diff "$work/before" <(find "$work/files" | sort)
check_silent "all messages are lines of UTF-8 that do nothing to a terminal" python3 -X utf8 -c 'import sys
for line in open(sys.argv[1], "rb").read().split(b"\n"):
    text = line.decode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text), line' "$work/messages"
all_json() {
	python3 -X utf8 -c 'import json, sys
values = [json.loads(text.decode()) for text in open(sys.argv[1], "rb").read().split(b"\0")[:-1]]
print(len(values))
sys.exit(len(values) < 10)' "$work/json"
}
if "$gmem" probe --quiet 2>/dev/null; then check "all JSON is JSON in UTF-8" all_json; fi
done_testing
