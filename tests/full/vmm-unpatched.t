#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot, with real guests, in the lab, on the kernel
# without the change, whose guest_memfd is mapped and copied to.
# needs: stock minutes=2
exec "$(dirname "$(readlink -f "$0")")/../vmm-run" --unpatched vmm mmap
