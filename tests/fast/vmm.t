#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot, in the lab: a machine boots, is saved and is restored.
# needs: stock
exec "$(dirname "$(readlink -f "$0")")/../vmm-run" vmm write once
