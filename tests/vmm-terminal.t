#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run on a terminal, in the lab.
cd "$(dirname "$(readlink -f "$0")")/.." || exit

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$(lab/build) && gmem=$(lib/build static)/cli/gmem && lab/guest "$work/initrd" && cp "$kernel/bzImage" "$work" || exit

# As for tests/vmm.t: a TSC offset for KVM's vCPUs.
tests/vmm-terminal lab/boot --quiet --kernel "$kernel" --timeout 400 --append kvm.tsc_tolerance_ppm=10000 \
	--add "$gmem" --add "$work:/guest"
