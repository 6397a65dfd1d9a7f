// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bench kernels only: what the write engine of guest_memfd is measured against.
 *
 * /sys/module/kvm/parameters/gmem_engine says what write() does:
 *
 *   0  the engine, as everywhere
 *   1  generic_perform_write(), which takes one folio at a time through
 *      write_begin and write_end: what a file system gets for free, and hence
 *      what the engine has to beat
 *   2  the copy alone: the caller's bytes go to the same batch of pages over
 *      and over, and none is published
 *   3  the copy alone, to the pages that the file has: with memory as far away
 *      as it is for the engine
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

#include "guest_memfd.h"

enum { ENGINE, GENERIC, COPY, COPY_OVER };

static unsigned int gmem_engine;
module_param(gmem_engine, uint, 0644);

#define COPY_BATCH	64

/* simple_write_end() without dirty pages, which guest_memfd does not have. */
int kvm_gmem_generic_write_end(const struct kiocb *iocb,
			       struct address_space *mapping, loff_t pos,
			       unsigned int len, unsigned int copied,
			       struct folio *folio, void *fsdata)
{
	if (!folio_test_uptodate(folio)) {
		if (copied < len)
			folio_zero_range(folio, offset_in_folio(folio, pos) + copied,
					 len - copied);
		folio_mark_uptodate(folio);
	}

	folio_unlock(folio);
	folio_put(folio);
	return copied;
}

static ssize_t kvm_gmem_generic_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	ssize_t ret;

	inode_lock(inode);

	ret = generic_write_checks(iocb, from);
	if (ret > 0 && iocb->ki_pos + ret > i_size_read(inode))
		ret = -EINVAL;
	if (ret > 0)
		ret = file_modified(iocb->ki_filp);
	if (!ret)
		ret = generic_perform_write(iocb, from);

	inode_unlock(inode);
	return ret;
}

static ssize_t kvm_gmem_copy(struct kiocb *iocb, struct iov_iter *from)
{
	struct page *pages[COPY_BATCH] = {};
	size_t count = iov_iter_count(from);
	unsigned int nr, i = 0;

	nr = alloc_pages_bulk(mapping_gfp_mask(iocb->ki_filp->f_mapping),
			      COPY_BATCH, pages);
	while (nr && iov_iter_count(from)) {
		if (!copy_page_from_iter(pages[i++ % nr], 0, PAGE_SIZE, from))
			break;
		cond_resched();
	}
	release_pages(pages, nr);

	count -= iov_iter_count(from);
	iocb->ki_pos += count;
	return count ?: -EFAULT;
}

/* No lock, no checks: only for files that nobody else has. */
static ssize_t kvm_gmem_copy_over(struct kiocb *iocb, struct iov_iter *from)
{
	size_t count = iov_iter_count(from);
	struct folio *folio;
	size_t copied;

	while (iov_iter_count(from)) {
		folio = filemap_get_folio(iocb->ki_filp->f_mapping,
					  iocb->ki_pos >> PAGE_SHIFT);
		if (IS_ERR(folio))
			break;

		copied = copy_folio_from_iter(folio, 0, PAGE_SIZE, from);
		folio_put(folio);
		if (!copied)
			break;

		iocb->ki_pos += copied;
		cond_resched();
	}

	count -= iov_iter_count(from);
	return count ?: -EFAULT;
}

ssize_t kvm_gmem_bench_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	switch (gmem_engine) {
	case GENERIC:
		return kvm_gmem_generic_write(iocb, from);
	case COPY:
		return kvm_gmem_copy(iocb, from);
	case COPY_OVER:
		return kvm_gmem_copy_over(iocb, from);
	default:
		return kvm_gmem_write_iter(iocb, from);
	}
}
