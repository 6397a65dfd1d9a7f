#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run on a terminal, in the lab.
# needs: stock
cd "$(dirname "$(readlink -f "$0")")/../.." || exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(lab/kernel) && gmem=$(lib/build static)/cli/gmem && lab/guest-initrd "$work/initrd" && cp "$kernel/bzImage" "$work" || exit

tests/vmm-terminal lab/boot --quiet --kernel "$kernel" --timeout 400 \
	--add "$gmem" --add "$work:/guest"
