#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# gmem snapshot on a file system whose quota runs out. It is ext4: Debian's kernels have
# no quotas for tmpfs (CONFIG_TMPFS_QUOTA), and ext4 as modules, which the lab does not load.
# needs: stock minutes=2

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
release=$(<"$(lab/kernel)/release")
mkdir "$work/modules"
n=0
for module in crc16 mbcache jbd2 ext4 quota_tree quota_v2; do
	file=$(find "$cache"/debian-kernel/*/usr/lib/modules/"$release" -name "$module.ko.xz" -print -quit)
	[[ $file ]] || die "Linux $release has no module $module"
	n=$((n + 1))
	xz -dc "$file" >"$work/modules/$n-$module.ko"
done
truncate -s 256M "$work/disk"
mkfs.ext4 -q -O quota -E quotatype=usrquota "$work/disk"
tests/vmm-run --add "$work/modules:/modules" --drive "$work/disk,rw" vmm-quota
