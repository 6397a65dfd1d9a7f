#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# make demo: it runs, and tells what it is to show. So a guest is saved and restored by
# write(), and its RAM image populated in every way, each byte compared.
# needs: stock minutes=2
# shellcheck source=tests/tap.sh
. "$(dirname "$(readlink -f "$0")")/../tap.sh"

said=$(mktemp)
trap 'rm -f "$said"' EXIT
# shellcheck disable=SC2016 # for the inner shell
check "it runs" sh -c 'demo/run >"$1" 2>&1 || { cat "$1"; exit 1; }' - "$said"
shows() { says "it shows $1" 0 "$2" cat "$said"; }
shows "the kernel and the accelerator" 'lab/boot: Linux 7\.3[^ ]*, .* on (tcg|kvm): '
shows "what was saved" $'\nsaved +512 MiB of memory, [1-9][0-9]* MiB of them populated'
for way in 'mmap \+ memcpy' 'after madvise\(\)' 'write\(\)' 'memcpy, memory there'; do
	shows "how long ${way//\\/} took" $'\n *'"$way"' +#* +[0-9.]+ ms +[0-9]+ MiB/s'
done
shows "that every byte was compared" 'Every byte was compared after each run: all are right'
shows "what the restored guest answered" $'\nrestored +512 MiB by write\\(\\) in [^\n]*\n[^\n]*\nanswered +the word is mellon\n'
done_testing
