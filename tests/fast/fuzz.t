#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The parsers of libgmem and gmem, on every input that tests/fuzz/run found of interest,
# under the sanitizers.

# shellcheck source=tests/fuzz/replay.sh
. "$(dirname "$(readlink -f "$0")")/../fuzz/replay.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# instrumented PROGRAM: libFuzzer sees what it reaches, and the sanitizers what it does.
instrumented() {
	grep -qE 'Loaded 1 modules +\([0-9]{3,} inline 8-bit counters\)' "$work/said" &&
		nm "$1" >"$work/symbols" && grep -q __asan_report_load "$work/symbols" && grep -q __ubsan_handle "$work/symbols"
}
replay_instrumented() { replay build/fuzz/bin "$1" && instrumented "build/fuzz/bin/$1"; }

if check "the fuzz targets build" tests/fuzz/compile "$root/build/fuzz/bin"; then
	for source in tests/fuzz/*.c; do
		target=$(basename "$source" .c)
		check "$target: $(find "tests/fuzz/corpus/$target" -type f | wc -l) inputs, under the sanitizers" replay_instrumented "$target"
	done
fi
large=$(find tests/fuzz/corpus -size +8k)
if [[ -z $large ]]; then ok "no input is larger than 8 KiB"; else not_ok "no input is larger than 8 KiB" "$large"; fi
done_testing
