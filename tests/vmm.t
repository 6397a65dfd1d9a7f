#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot, with real guests, on the patched kernel in the lab.
cd "$(dirname "$(readlink -f "$0")")/.." || exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(lab/build) && gmem=$(lib/build static)/cli/gmem && lab/guest "$work/initrd" && lab/root "$work/root" zstd || exit
mkdir "$work/guest" "$work/share"
cp "$kernel/bzImage" "$work/initrd" "$work/guest" || exit

lab/boot --kernel "$kernel" --timeout 900 \
	--add "$gmem" --add "$work/guest:/guest" --add "$work/root:/" --share "$work/share" \
	--add tests/vmm-guest -- vmm-guest write
