#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot, with real guests, in the lab.
exec "$(dirname "$(readlink -f "$0")")/vmm-run" write
