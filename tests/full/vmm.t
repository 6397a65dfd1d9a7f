#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot, with real guests, in the lab.
# needs: stock minutes=4
exec "$(dirname "$(readlink -f "$0")")/../vmm-run" vmm write
