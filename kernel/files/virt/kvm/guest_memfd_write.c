// SPDX-License-Identifier: GPL-2.0-only
/*
 * Populate guest_memfd with write(): fill, then publish.
 *
 * A write is done in batches.  For each batch, fresh pages are allocated and
 * the caller's bytes are copied into them with no lock held and page faults
 * allowed; only then are they published, one by one: a page that is absent
 * from the file is inserted as it is, a page that is present is locked and
 * overwritten.
 *
 * Nobody else can see a fresh page before it holds PAGE_SIZE bytes of the
 * caller's.  That is why a page needs no clearing, why a source that turns out
 * to be unreadable never leaves a torn page or stale kernel memory behind, and
 * why the source may be a mapping of the very file that is written.
 */
#include <linux/cpuset.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kasan.h>
#include <linux/kvm_host.h>
#include <linux/mempolicy.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/splice.h>
#include <linux/uio.h>

#include "guest_memfd.h"

/*
 * How many pages to fill before publishing them.  Bounds the memory that a
 * write holds beyond what it has published, and the time between two points at
 * which it can be rescheduled or killed.
 */
#define KVM_GMEM_WRITE_BATCH	64

/*
 * Is there no page in the range?  Most of the time there is not, and it is one
 * look instead of one for each page.  No more than a hint: a page can appear at
 * any moment.
 */
static bool kvm_gmem_range_is_absent(struct inode *inode, pgoff_t index,
				     unsigned int nr)
{
	loff_t start = (loff_t)index << PAGE_SHIFT;
	loff_t end = (loff_t)(index + nr) << PAGE_SHIFT;

	return !filemap_range_has_page(inode->i_mapping, start, end - 1);
}

/*
 * Does anything but the plain "nearest node" rule say where this file's pages
 * come from?
 */
static bool kvm_gmem_has_placement(struct inode *inode)
{
#ifdef CONFIG_NUMA
	return GMEM_I(inode)->policy.root.rb_node || current->mempolicy ||
	       cpuset_do_page_mem_spread();
#else
	return false;
#endif
}

/* Place the page as a fault at @index would. */
static struct page *kvm_gmem_alloc_page(struct inode *inode, pgoff_t index)
{
	struct mempolicy *policy;
	struct folio *folio;

	policy = mpol_shared_policy_lookup(&GMEM_I(inode)->policy, index);
	folio = filemap_alloc_folio(mapping_gfp_mask(inode->i_mapping), 0, policy);
	mpol_cond_put(policy);

	return folio ? folio_page(folio, 0) : NULL;
}

/*
 * Take a block of contiguous pages: it costs about as much as a page, and is
 * filled in one go.  But only if there is one for the taking: single pages will
 * do, so don't wake kswapd for it, nor take what is reserved for others.
 *
 * Returns how many of the @nr pages it has.
 */
static unsigned int kvm_gmem_alloc_block(gfp_t gfp, struct page **pages,
					 unsigned int nr)
{
	unsigned int i, order = ilog2(nr);
	struct page *block;

	gfp = (gfp & ~__GFP_RECLAIM) | __GFP_NOMEMALLOC | __GFP_NOWARN;
	block = alloc_pages(gfp, order);
	if (!block)
		return 0;

	split_page(block, order);
	for (i = 0; i < 1U << order; i++)
		pages[i] = block + i;

	return i;
}

/*
 * Pages that overwrite others are freed right after that: those come from, and
 * go back to, the lists of single pages.
 *
 * Returns how many of the @nr pages could be had.
 */
static unsigned int kvm_gmem_alloc_pages(struct inode *inode, pgoff_t index,
					 struct page **pages, unsigned int nr,
					 bool absent)
{
	gfp_t gfp = mapping_gfp_mask(inode->i_mapping);
	unsigned int i = 0;

	if (kvm_gmem_has_placement(inode)) {
		for (; i < nr; i++) {
			pages[i] = kvm_gmem_alloc_page(inode, index + i);
			if (!pages[i])
				break;
		}
		return i;
	}

	if (absent)
		i = kvm_gmem_alloc_block(gfp, pages, nr);
	if (i == nr)
		return nr;

	memset(pages + i, 0, (nr - i) * sizeof(*pages));
	return i + alloc_pages_bulk(gfp, nr - i, pages + i);
}

/*
 * Fill pages that are contiguous in one go.  That takes the direct map, which
 * has all memory on the 64-bit kernels that guest_memfd is for, and a pointer
 * without KASAN tag, for the pages may have been allocated one by one.
 *
 * Returns how many of the pages hold PAGE_SIZE bytes of the caller's; @from has
 * been advanced by just as much.
 */
static unsigned int kvm_gmem_fill_pages(struct page **pages, unsigned int nr,
					struct iov_iter *from)
{
	unsigned int end, i = 0;
	size_t bytes, copied;
	void *to;

	do {
		to = kasan_reset_tag(page_address(pages[i]));
		bytes = num_pages_contiguous(pages + i, nr - i) << PAGE_SHIFT;
		copied = copy_from_iter(to, bytes, from);
		iov_iter_revert(from, offset_in_page(copied));

		/* Nobody has seen the pages yet: setting the flag can't race. */
		for (end = i + (copied >> PAGE_SHIFT); i < end; i++) {
			flush_dcache_page(pages[i]);
			__SetPageUptodate(pages[i]);
		}
	} while (copied == bytes && i < nr);

	return i;
}

/*
 * Consumes the reference to @folio, which stays where it is as long as the
 * invalidate lock is held.  memory_failure() takes that lock with the folio
 * locked: to wait for the folio, let go of the lock, and return -EAGAIN.
 */
static int kvm_gmem_overwrite_folio(struct address_space *mapping,
				    struct folio *folio, pgoff_t index,
				    struct page *fresh)
{
	int ret = 0;

	if (!folio_trylock(folio)) {
		filemap_invalidate_unlock_shared(mapping);
		folio_wait_locked(folio);
		folio_put(folio);
		filemap_invalidate_lock_shared(mapping);
		return -EAGAIN;
	}

	if (folio_test_hwpoison(folio)) {
		ret = -EHWPOISON;
	} else if (WARN_ON_ONCE(folio_test_large(folio))) {
		ret = -EIO;
	} else {
		copy_highpage(folio_file_page(folio, index), fresh);
		flush_dcache_folio(folio);
		folio_mark_uptodate(folio);
	}

	folio_unlock(folio);
	folio_put(folio);
	return ret;
}

static int kvm_gmem_insert_page(struct address_space *mapping, pgoff_t index,
				struct page *fresh)
{
	struct folio *folio = page_folio(fresh);
	int ret;

	ret = filemap_add_folio(mapping, folio, index, mapping_gfp_mask(mapping));
	if (!ret)
		folio_unlock(folio);
	return ret;
}

static int kvm_gmem_publish_page(struct inode *inode, pgoff_t index,
				 struct page *fresh, bool absent)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;
	int ret;

	if (!kvm_gmem_is_shared_mem(inode, index))
		return -EPERM;

	if (absent && !kvm_gmem_insert_page(mapping, index, fresh))
		return 0;

	do {
		/*
		 * Look before inserting: a page that is already there must not
		 * be charged to the memory cgroup a second time, not even for
		 * a moment, lest overwriting fails in a group at its limit.
		 */
		folio = filemap_get_folio(mapping, index);
		if (!IS_ERR(folio))
			return kvm_gmem_overwrite_folio(mapping, folio, index,
							fresh);

		ret = kvm_gmem_insert_page(mapping, index, fresh);
	} while (ret == -EEXIST);

	return ret;
}

/*
 * The invalidate lock keeps the shared/private state of a page as it is found,
 * and PUNCH_HOLE away from it, as for fallocate().  Like there, it is taken
 * shared: writers exclude each other only page by page.
 *
 * Returns how many pages were published, and in @err what stopped it.  The
 * references to those are gone.
 */
static unsigned int kvm_gmem_publish_pages(struct inode *inode, pgoff_t index,
					   struct page **pages, unsigned int nr,
					   bool absent, int *err)
{
	unsigned int i;

	filemap_invalidate_lock_shared(inode->i_mapping);

	for (i = 0; i < nr; i++) {
		do {
			*err = kvm_gmem_publish_page(inode, index + i, pages[i],
						     absent);
		} while (*err == -EAGAIN);

		if (*err)
			break;

		put_page(pages[i]);
	}

	filemap_invalidate_unlock_shared(inode->i_mapping);

	return i;
}

/*
 * Returns how many pages were written, and in @err what stopped it; @from has
 * been advanced by just as much.
 */
static unsigned int kvm_gmem_write_batch(struct inode *inode, pgoff_t index,
					 struct iov_iter *from, int *err)
{
	struct page *pages[KVM_GMEM_WRITE_BATCH];
	unsigned int nr, allocated, filled, published;
	bool absent;

	nr = min(iov_iter_count(from) >> PAGE_SHIFT, ARRAY_SIZE(pages));
	absent = kvm_gmem_range_is_absent(inode, index, nr);

	allocated = kvm_gmem_alloc_pages(inode, index, pages, nr, absent);
	if (!allocated) {
		*err = -ENOMEM;
		return 0;
	}

	filled = kvm_gmem_fill_pages(pages, allocated, from);
	published = kvm_gmem_publish_pages(inode, index, pages, filled, absent,
					   err);

	if (published < allocated)
		release_pages(pages + published, allocated - published);

	iov_iter_revert(from, (size_t)(filled - published) << PAGE_SHIFT);

	if (!*err && filled < allocated)
		*err = -EFAULT;

	return published;
}

/*
 * Apply the rules of the VFS, then those of guest_memfd, which deals in whole
 * pages and has a fixed size.  A resource limit shortens a write, it does not
 * make an aligned one invalid: judge what was asked for, not what is left.
 *
 * Returns the number of bytes to write, or an error.
 */
static ssize_t kvm_gmem_write_checks(struct kiocb *iocb, struct iov_iter *from)
{
	size_t count = iov_iter_count(from);
	ssize_t ret;

	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		return ret;

	if (!PAGE_ALIGNED(iocb->ki_pos) || !PAGE_ALIGNED(count))
		return -EINVAL;

	if (iocb->ki_pos + count > i_size_read(file_inode(iocb->ki_filp)))
		return -EINVAL;

	iov_iter_truncate(from, round_down(ret, PAGE_SIZE));
	if (!iov_iter_count(from)) {
		send_sig(SIGXFSZ, current, 0);
		return -EFBIG;
	}

	return iov_iter_count(from);
}

ssize_t kvm_gmem_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = iocb->ki_filp;
	struct inode *inode = file_inode(file);
	pgoff_t start, index;
	ssize_t ret;
	int err = 0;

	if (!kvm_gmem_supports_write(inode))
		return -ENODEV;

	ret = kvm_gmem_write_checks(iocb, from);
	if (ret <= 0)
		return ret;

	start = iocb->ki_pos >> PAGE_SHIFT;
	index = start;
	do {
		if (fatal_signal_pending(current)) {
			err = -EINTR;
			break;
		}

		index += kvm_gmem_write_batch(inode, index, from, &err);
		cond_resched();
	} while (!err && iov_iter_count(from));

	if (index == start)
		return err;

	file_modified(file);

	ret = (ssize_t)(index - start) << PAGE_SHIFT;
	iocb->ki_pos += ret;
	return ret;
}

/*
 * An actor that takes nothing: __splice_from_pipe() waits for the pipe to have
 * something in it as splice() must, then this adds up what it is.
 */
static int kvm_gmem_pipe_bytes(struct pipe_inode_info *pipe,
			       struct pipe_buffer *buf, struct splice_desc *sd)
{
	unsigned int tail;
	size_t *bytes = sd->u.data;

	for (tail = pipe->tail; !pipe_empty(pipe->head, tail); tail++)
		*bytes += pipe_buf(pipe, tail)->len;

	return 0;
}

/*
 * A pipe holds whatever number of bytes its writer, or the source file of a
 * sendfile(), happened to put there.  Take the whole pages among them and leave
 * the rest for next time; less than a page is refused and stays in the pipe.
 */
ssize_t kvm_gmem_splice_write(struct pipe_inode_info *pipe, struct file *out,
			      loff_t *ppos, size_t len, unsigned int flags)
{
	size_t bytes = 0;
	struct splice_desc sd = {
		.total_len = len,
		.flags = flags,
		.pos = *ppos,
		.u.data = &bytes,
	};
	ssize_t ret;

	if (!kvm_gmem_supports_write(file_inode(out)))
		return -ENODEV;

	pipe_lock(pipe);
	ret = __splice_from_pipe(pipe, &sd, kvm_gmem_pipe_bytes);
	pipe_unlock(pipe);
	if (!bytes)
		return ret;

	len = round_down(min(len, bytes), PAGE_SIZE);
	if (!len)
		return -EINVAL;

	return iter_file_splice_write(pipe, out, ppos, len, flags);
}
