#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# The same on arm64: tests/upstream-arm64.list.
# needs: arm64 alone minutes=4

ARCH=arm64 exec "$(dirname "$(readlink -f "$0")")/upstream.t"
