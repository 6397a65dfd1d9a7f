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
#include <linux/kvm_host.h>
#include <linux/mempolicy.h>
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

/* Returns how many of the @nr pages could be had. */
static unsigned int kvm_gmem_alloc_pages(struct inode *inode, pgoff_t index,
					 struct page **pages, unsigned int nr)
{
	unsigned int i;

	if (!kvm_gmem_has_placement(inode)) {
		memset(pages, 0, nr * sizeof(*pages));
		return alloc_pages_bulk(mapping_gfp_mask(inode->i_mapping), nr,
					pages);
	}

	for (i = 0; i < nr; i++) {
		pages[i] = kvm_gmem_alloc_page(inode, index + i);
		if (!pages[i])
			break;
	}

	return i;
}

/*
 * Returns how many pages hold PAGE_SIZE bytes of the caller's; @from has been
 * advanced by just as much.
 */
static unsigned int kvm_gmem_fill_pages(struct page **pages, unsigned int nr,
					struct iov_iter *from)
{
	unsigned int i;
	size_t copied;

	for (i = 0; i < nr; i++) {
		copied = copy_page_from_iter(pages[i], 0, PAGE_SIZE, from);
		if (copied != PAGE_SIZE) {
			iov_iter_revert(from, copied);
			break;
		}

		/* Nobody has seen the page yet: setting the flag can't race. */
		flush_dcache_page(pages[i]);
		__SetPageUptodate(pages[i]);
	}

	return i;
}

/* Consumes the reference to, and the lock of, @folio. */
static int kvm_gmem_overwrite_folio(struct folio *folio, pgoff_t index,
				    struct page *fresh)
{
	int ret = 0;

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

static int kvm_gmem_publish_page(struct inode *inode, pgoff_t index,
				 struct page *fresh)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;
	int ret;

	if (!kvm_gmem_is_shared_mem(inode, index))
		return -EPERM;

	do {
		/*
		 * Look before inserting: a page that is already there must not
		 * be charged to the memory cgroup a second time, not even for
		 * a moment, lest overwriting fails in a group at its limit.
		 */
		folio = filemap_lock_folio(mapping, index);
		if (!IS_ERR(folio))
			return kvm_gmem_overwrite_folio(folio, index, fresh);

		folio = page_folio(fresh);
		ret = filemap_add_folio(mapping, folio, index,
					mapping_gfp_mask(mapping));
	} while (ret == -EEXIST);

	if (!ret)
		folio_unlock(folio);
	return ret;
}

/*
 * The invalidate lock keeps the shared/private state of the pages as it is
 * found, and PUNCH_HOLE out of the batch, as for fallocate().  Like there, it
 * is taken shared: writers exclude each other only page by page.
 *
 * Returns how many pages were published, and in @err what stopped it.
 */
static unsigned int kvm_gmem_publish_pages(struct inode *inode, pgoff_t index,
					   struct page **pages, unsigned int nr,
					   int *err)
{
	unsigned int i;

	filemap_invalidate_lock_shared(inode->i_mapping);

	for (i = 0; i < nr; i++) {
		*err = kvm_gmem_publish_page(inode, index + i, pages[i]);
		if (*err)
			break;
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

	nr = min(iov_iter_count(from) >> PAGE_SHIFT, ARRAY_SIZE(pages));

	allocated = kvm_gmem_alloc_pages(inode, index, pages, nr);
	if (!allocated) {
		*err = -ENOMEM;
		return 0;
	}

	filled = kvm_gmem_fill_pages(pages, allocated, from);
	published = kvm_gmem_publish_pages(inode, index, pages, filled, err);

	/* What the file does not hold by now is freed by this. */
	release_pages(pages, allocated);

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
