#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem run and gmem snapshot when something goes wrong around them, in the lab.
# needs: base minutes=4
exec "$(dirname "$(readlink -f "$0")")/../vmm-run" --profile base vmm-trouble
