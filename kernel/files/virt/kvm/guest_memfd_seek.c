// SPDX-License-Identifier: GPL-2.0-only
/*
 * lseek() on guest_memfd.  SEEK_DATA and SEEK_HOLE tell which pages are
 * populated, e.g. to save those alone.
 *
 * Data is a page that is present and up to date.  A page that fallocate() made
 * and nobody has touched since is a hole: whoever looks there finds zeros.
 */
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "guest_memfd.h"

static pgoff_t kvm_gmem_next_data(struct address_space *mapping, pgoff_t index,
				  pgoff_t end)
{
	struct folio_batch fbatch;
	pgoff_t data = end;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (data == end &&
	       filemap_get_folios(mapping, &index, end - 1, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			if (folio_test_uptodate(fbatch.folios[i])) {
				data = fbatch.folios[i]->index;
				break;
			}
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}

	return data;
}

static pgoff_t kvm_gmem_next_hole(struct address_space *mapping, pgoff_t index,
				  pgoff_t end)
{
	struct folio_batch fbatch;
	pgoff_t hole = end;
	unsigned int i;

	folio_batch_init(&fbatch);
	while (hole == end &&
	       filemap_get_folios_contig(mapping, &index, end - 1, &fbatch)) {
		for (i = 0; i < folio_batch_count(&fbatch); i++) {
			if (!folio_test_uptodate(fbatch.folios[i])) {
				hole = fbatch.folios[i]->index;
				break;
			}
		}
		folio_batch_release(&fbatch);
		cond_resched();
	}

	/* The run of present pages ends at @index, at the end of file latest. */
	return min(hole, index);
}

loff_t kvm_gmem_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);
	loff_t size = i_size_read(inode);
	pgoff_t index, end = size >> PAGE_SHIFT;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return fixed_size_llseek(file, offset, whence, size);

	if (offset < 0 || offset >= size)
		return -ENXIO;

	index = offset >> PAGE_SHIFT;
	if (whence == SEEK_DATA)
		index = kvm_gmem_next_data(inode->i_mapping, index, end);
	else
		index = kvm_gmem_next_hole(inode->i_mapping, index, end);

	if (whence == SEEK_DATA && index == end)
		return -ENXIO;

	return vfs_setpos(file, max(offset, (loff_t)index << PAGE_SHIFT), size);
}
