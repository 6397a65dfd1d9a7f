#!/bin/bash
# SPDX-License-Identifier: MIT OR LGPL-2.1-or-later
# Populate guest memory with gmem on the patched kernel: every source, every
# method, every error.
# needs: stock minutes=2

# shellcheck source=lab/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../lab/lib.sh"
cd "$root"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
variant=user
[[ ! $cross ]] || variant=$ARCH
build=$(lib/build "$variant")
lab/root "$work/root" "$build/cli/gmem" "$build/lib/tests/compare" zstd dd split head truncate

# A dense image of 128 MiB, no two MiB of which are the same, its beginning, and what zstd
# makes of that and of others: an emulated processor would take a minute for it.
openssl enc -aes-128-ctr -nosalt -K 0 -iv 0 </dev/zero 2>/dev/null | head -c 128M >"$work/image" || true
head -c 64M "$work/image" >"$work/small"
mkdir "$work/images"
cd "$work/images"
: >empty
head -c 4K ../image >page
head -c 1M ../image >mib
head -c 64M ../image >dense
truncate -s 64M sparse
dd if=dense of=sparse bs=4K count=100 seek=77 conv=notrunc status=none
dd if=dense of=sparse bs=1M count=3 seek=40 conv=notrunc status=none
for image in *; do
	zstd -q "$image"
	split -b 1M --filter='zstd -qc' "$image" >"$image.frames.zst"
done
cp empty.zst empty.frames.zst
rm dense sparse
cd "$root"

bad=driver=raw,node-name=bad,read-only=on,file.driver=blkdebug,file.image.driver=file,file.image.filename=$work/small
bad+=,file.inject-error.0.event=read_aio,file.inject-error.0.errno=5,file.inject-error.0.sector=$((32 * 2048))
lab/boot --quiet --mem 5G --timeout 1200 --add "$work/root:/" --add tests/in-lab/populate \
	--drive "$work/image" --share "$work/images" \
	--qemu-arg -blockdev --qemu-arg "$bad" --qemu-arg -device --qemu-arg virtio-blk-pci,drive=bad \
	--qemu-arg -drive --qemu-arg "if=none,id=good,format=raw,readonly=on,file=$work/small" \
	--qemu-arg -device --qemu-arg virtio-blk-pci,drive=good \
	-- populate
