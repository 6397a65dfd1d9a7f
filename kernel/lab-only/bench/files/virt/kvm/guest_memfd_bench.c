// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bench kernels only: what write() to guest_memfd is measured against.  Included by
 * guest_memfd.c, whose functions it uses.
 *
 * /sys/module/kvm/parameters/gmem_engine says what write() does:
 *
 *   0  what it does everywhere: fill a folio, publish it
 *   1  generic_perform_write(), which takes one folio at a time through write_begin
 *      and write_end: what a file system gets for free
 *   2  the copy alone: the caller's bytes go to the same pages over and over, and
 *      none is published
 *   3  the copy alone, to the pages that the file has: with memory as far away as it
 *      is for the engines
 *   4  the simplest loop: lock or add the folio in the file, then copy with page
 *      faults disabled.  A source that can't be read leaves a page partly written
 *   5  fill 64 folios, then publish them
 *   6  the same with one block of 64 pages, split, where the range is absent and no
 *      policy says where pages come from
 *   7  the copy alone, to folios like those that write() takes, all of them fresh
 */
#include <linux/module.h>

enum { FOLIO, GENERIC, COPY, COPY_OVER, LOOP, BATCH, BLOCK, COPY_FRESH };

static unsigned int gmem_engine;
module_param(gmem_engine, uint, 0644);

#define BENCH_BATCH	64

/* simple_write_end() is not exported. */
static int kvm_gmem_generic_write_end(const struct kiocb *iocb,
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
	folio_mark_dirty(folio);

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
	struct page *pages[BENCH_BATCH] = {};
	size_t count = iov_iter_count(from);
	unsigned int nr, i = 0;

	nr = alloc_pages_bulk(mapping_gfp_mask(iocb->ki_filp->f_mapping),
			      BENCH_BATCH, pages);
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

/* None is published: they are freed when all has been copied. */
static ssize_t kvm_gmem_copy_fresh(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	size_t count = iov_iter_count(from);
	struct folio *folio, *next;
	LIST_HEAD(folios);
	size_t copied;

	while (iov_iter_count(from)) {
		pgoff_t index = iocb->ki_pos >> PAGE_SHIFT;
		unsigned int order = kvm_gmem_folio_order(inode, index,
							  iov_iter_count(from) >> PAGE_SHIFT,
							  KVM_GMEM_MAX_ORDER);

		folio = kvm_gmem_alloc_folio(inode, index, order);
		if (!folio)
			break;

		list_add(&folio->lru, &folios);
		copied = copy_folio_from_iter(folio, 0, folio_size(folio), from);
		iocb->ki_pos += copied;
		if (copied != folio_size(folio))
			break;

		cond_resched();
	}
	list_for_each_entry_safe(folio, next, &folios, lru)
		folio_put(folio);

	count -= iov_iter_count(from);
	return count ?: -EFAULT;
}

static int kvm_gmem_loop_folio(struct inode *inode, pgoff_t index,
			       struct iov_iter *from)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;
	size_t copied;

	if (fault_in_iov_iter_readable(from, PAGE_SIZE))
		return -EFAULT;

	filemap_invalidate_lock_shared(mapping);
	if (!kvm_gmem_is_shared_mem(inode, index)) {
		filemap_invalidate_unlock_shared(mapping);
		return -EACCES;
	}

	folio = kvm_gmem_get_folio(inode, index, 0);
	if (IS_ERR(folio)) {
		filemap_invalidate_unlock_shared(mapping);
		return PTR_ERR(folio);
	}

	copied = copy_folio_from_iter_atomic(folio, 0, PAGE_SIZE, from);
	if (copied == PAGE_SIZE) {
		flush_dcache_folio(folio);
		folio_mark_uptodate(folio);
		folio_mark_dirty(folio);
	} else {
		iov_iter_revert(from, copied);
	}

	folio_unlock(folio);
	folio_put(folio);
	filemap_invalidate_unlock_shared(mapping);
	return copied == PAGE_SIZE ? 0 : -EAGAIN;
}

static ssize_t kvm_gmem_loop(struct kiocb *iocb, struct iov_iter *from)
{
	ssize_t ret, written = 0;

	while (iov_iter_count(from)) {
		ret = kvm_gmem_loop_folio(file_inode(iocb->ki_filp),
					  iocb->ki_pos >> PAGE_SHIFT, from);
		if (ret == -EAGAIN)
			continue;
		if (ret)
			break;

		iocb->ki_pos += PAGE_SIZE;
		written += PAGE_SIZE;
		cond_resched();
	}

	return written ?: ret;
}

static unsigned int kvm_gmem_fill_single(struct inode *inode, pgoff_t index,
					 struct folio **folios, unsigned int nr,
					 struct iov_iter *from)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		folios[i] = kvm_gmem_fill_folio(inode, index + i, 0, false, from);
		if (IS_ERR(folios[i]))
			break;
	}

	return i;
}

static unsigned int kvm_gmem_fill_block(struct inode *inode, pgoff_t index,
					struct folio **folios, unsigned int nr,
					struct iov_iter *from)
{
	unsigned int i, order = ilog2(nr);
	struct page *block;
	size_t copied;

	block = alloc_pages((mapping_gfp_mask(inode->i_mapping) & ~__GFP_RECLAIM) |
			    __GFP_NOMEMALLOC | __GFP_NOWARN, order);
	if (!block)
		return kvm_gmem_fill_single(inode, index, folios, nr, from);

	split_page(block, order);
	copied = copy_from_iter(page_address(block), PAGE_SIZE << order, from);
	iov_iter_revert(from, offset_in_page(copied));
	for (i = 0; i < 1U << order; i++) {
		folios[i] = page_folio(block + i);
		flush_dcache_folio(folios[i]);
	}

	return i;
}

/* Everything is there and stays: for files that nobody else has. */
static ssize_t kvm_gmem_batch(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct address_space *mapping = inode->i_mapping;
	struct folio *folios[BENCH_BATCH], *folio;
	unsigned int i, nr, filled;
	ssize_t written = 0;
	pgoff_t index;
	bool absent;
	int ret = 0;

	while (!ret && iov_iter_count(from)) {
		index = iocb->ki_pos >> PAGE_SHIFT;
		nr = min(iov_iter_count(from) >> PAGE_SHIFT, BENCH_BATCH);
		absent = !filemap_range_has_page(mapping, iocb->ki_pos, iocb->ki_pos +
						 nr * PAGE_SIZE - 1);
		if (gmem_engine == BLOCK && absent)
			filled = kvm_gmem_fill_block(inode, index, folios, nr, from);
		else
			filled = kvm_gmem_fill_single(inode, index, folios, nr, from);

		if (!filled)
			ret = -EFAULT;

		filemap_invalidate_lock_shared(mapping);
		for (i = 0; i < filled; i++) {
			folio = absent ? ERR_PTR(-ENOENT) : filemap_get_folio(mapping, index + i);
			if (IS_ERR(folio)) {
				ret = kvm_gmem_insert_folio(mapping, index + i, folios[i]);
			} else {
				ret = kvm_gmem_overwrite_folio(mapping, folio, index + i,
							       folios[i]);
				folio_put(folio);
			}
			if (ret)
				break;
		}
		filemap_invalidate_unlock_shared(mapping);

		iocb->ki_pos += (loff_t)i << PAGE_SHIFT;
		written += (ssize_t)i << PAGE_SHIFT;
		for (i = 0; i < filled; i++)
			folio_put(folios[i]);
		cond_resched();
	}

	return written ?: ret;
}

static ssize_t kvm_gmem_bench_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	ssize_t ret;

	switch (gmem_engine) {
	case GENERIC:
		return kvm_gmem_generic_write(iocb, from);
	case COPY:
		return kvm_gmem_copy(iocb, from);
	case COPY_OVER:
		return kvm_gmem_copy_over(iocb, from);
	case COPY_FRESH:
		return kvm_gmem_copy_fresh(iocb, from);
	case LOOP:
	case BATCH:
	case BLOCK:
		ret = kvm_gmem_write_checks(iocb, from);
		if (ret > 0)
			ret = file_modified(iocb->ki_filp);
		if (ret)
			return ret;
		return gmem_engine == LOOP ? kvm_gmem_loop(iocb, from) :
					     kvm_gmem_batch(iocb, from);
	default:
		return kvm_gmem_write_iter(iocb, from);
	}
}
