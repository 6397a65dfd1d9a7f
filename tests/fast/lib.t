#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# libgmem builds, and passes its unit tests: by gcc and clang, with sanitizers, with musl,
# for arm64; on this machine's own kernel. tests/full/lib.t has the rest.

# shellcheck source=tests/units.sh
. "$(dirname "$(readlink -f "$0")")/../units.sh"

check "it builds, by gcc and clang, for musl and arm64, with no warning" lib/build user clang static musl arm64 asan
units gcc user
units "ASan, UBSan" asan
units musl musl
foreign=(qemu-aarch64-static -L "$(ARCH=arm64 lab/foreign)")
units arm64 arm64 "${foreign[@]}"
for variant in musl arm64; do
	run=()
	[[ $variant != arm64 ]] || run=("${foreign[@]}")
	says "gmem, $variant" 0 "^gmem $(sed -n 's/^#define GMEM_VERSION\t\t*"\(.*\)"/\1/p' lib/gmem.h)" "${run[@]}" "build/$variant/cli/gmem" --version
done
for command in run snapshot "help run"; do
	# shellcheck disable=SC2086 # two words
	says "gmem $command on arm64" 1 '^gmem (run|snapshot): x86-64 only$' "${foreign[@]}" build/arm64/cli/gmem $command
done

# What a static VMM could have, too.
for variant in static musl arm64; do
	nm -g --defined-only "build/$variant/lib/libgmem.a" | grep -oP '^\w+ \w \K.*' | grep -v '^gmem_' >build/strangers || true
	check_silent "libgmem.a defines nothing but gmem_*: $variant" cat build/strangers
done
done_testing
