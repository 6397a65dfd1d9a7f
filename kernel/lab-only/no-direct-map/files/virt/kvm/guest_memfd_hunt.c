// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernels of the lab only: what of guest memory can be seen in the direct map, and what
 * hiding it costs.  Included by guest_memfd.c, whose functions it uses.
 *
 * Reading /sys/kernel/debug/guest_memfd/hunt tries all of the memory that the kernel
 * has given out or could, and tells how many pages are
 *
 *   hidden   populated, of files without a direct map, and can't be read
 *   leaked   populated, of such files, and can be read: none, ever
 *   lost     free, and can't be read: none, ever
 *   kept     the others that can't be read: on their way to such a file or from it,
 *            with a memory error, or lost for want of memory to cut the direct map
 *
 * and how many words are "found" that a number is the inverse of that was written there
 * before.  That is for when nothing else is under way.
 *
 * Whoever has written "FD INDEX" to .../hold keeps a reference to that folio for as
 * long as that file is open: what no user of a file without a direct map can have.
 *
 * /sys/module/kvm/parameters/gmem_flush_every says how many pages are hidden with one
 * flush: as many as are hidden at once (0), or N, or all of them with none (~0).
 * gmem_flushes counts them.
 */
#include <linux/debugfs.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

static u64 kvm_gmem_hunted;

static uint gmem_flush_every;
module_param(gmem_flush_every, uint, 0644);

static ulong gmem_flushes;
module_param(gmem_flushes, ulong, 0644);

static void kvm_gmem_hunt_flush(unsigned long start, unsigned long end)
{
	static atomic_t pages;
	unsigned int nr = (end - start) >> PAGE_SHIFT;

	if (!gmem_flush_every) {
		gmem_flushes++;
		flush_tlb_kernel_range(start, end);
	} else if (atomic_add_return(nr, &pages) >= gmem_flush_every) {
		atomic_set(&pages, 0);
		gmem_flushes++;
		flush_tlb_all();
	}
}

static bool kvm_gmem_hunt_can_read(struct page *page)
{
	u64 word;

	return !copy_from_kernel_nofault(&word, page_address(page), sizeof(word));
}

static unsigned long kvm_gmem_hunt_words(struct page *page)
{
	u64 *words = page_address(page), wanted = ~kvm_gmem_hunted;
	unsigned long i, found = 0;

	for (i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		found += READ_ONCE_NOCHECK(words[i]) == wanted;

	return found;
}

/* Of a file without a direct map, as far as that can be said without a lock. */
static bool kvm_gmem_hunt_is_hidden(struct folio *folio)
{
	unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	return mapping && !(mapping & FOLIO_MAPPING_FLAGS) &&
	       READ_ONCE(((struct address_space *)mapping)->a_ops) == &kvm_gmem_hidden_aops;
}

enum { OTHER, BUSY, HIDDEN, LEAKED };

static int kvm_gmem_hunt_folio(struct folio *folio, struct page *page)
{
	struct inode *inode;
	pgoff_t index;
	int ret = OTHER;

	if (!folio_trylock(folio))
		return BUSY;

	if (folio == page_folio(page) && kvm_gmem_hunt_is_hidden(folio) &&
	    folio_test_uptodate(folio) && !PageHWPoison(page)) {
		inode = folio->mapping->host;
		index = folio->index + folio_page_idx(folio, page);
		if (!xa_load(&GMEM_I(inode)->holes, index))
			ret = kvm_gmem_hunt_can_read(page) ? LEAKED : HIDDEN;
	}
	folio_unlock(folio);

	return ret;
}

static int kvm_gmem_hunt_page(struct page *page)
{
	struct folio *folio;
	int ret = OTHER;

	/* Inodes and their mappings are freed after a grace period. */
	rcu_read_lock();
	folio = page_folio(page);
	if (!page_has_type(&folio->page) && folio_try_get(folio)) {
		if (kvm_gmem_hunt_is_hidden(folio))
			ret = kvm_gmem_hunt_folio(folio, page);
		rcu_read_unlock();
		folio_put(folio);
	} else {
		rcu_read_unlock();
	}

	return ret;
}

/* A folio that is being split has no references, either. */
static bool kvm_gmem_hunt_is_free(struct page *page)
{
	bool ret;

	rcu_read_lock();
	ret = !page_count(page) && !PageHWPoison(page) &&
	      !kvm_gmem_hunt_is_hidden(page_folio(page));
	rcu_read_unlock();

	return ret;
}

static int hunt_show(struct seq_file *m, void *v)
{
	unsigned long pfn, hidden = 0, leaked = 0, lost = 0, kept = 0, found = 0;

	for (pfn = 0; pfn < max_pfn; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || PageReserved(page))
			continue;

		switch (kvm_gmem_hunt_page(page)) {
		case HIDDEN:
			hidden++;
			break;
		case LEAKED:
			leaked++;
			break;
		case OTHER:
			if (!kvm_gmem_hunt_can_read(page)) {
				/* It may be on its way to or from a file just now. */
				if (kvm_gmem_hunt_is_free(page) &&
				    !kvm_gmem_hunt_can_read(page) &&
				    kvm_gmem_hunt_is_free(page))
					lost++;
				else
					kept++;
			} else if (kvm_gmem_hunted) {
				found += kvm_gmem_hunt_words(page);
			}
		}
		if (!(pfn % 4096))
			cond_resched();
	}

	seq_printf(m, "hidden %lu leaked %lu lost %lu kept %lu found %lu\n", hidden,
		   leaked, lost, kept, found);
	return 0;
}

static int hunt_open(struct inode *inode, struct file *file)
{
	return single_open(file, hunt_show, NULL);
}

static ssize_t hunt_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	return kstrtou64_from_user(buf, len, 0, &kvm_gmem_hunted) ?: len;
}

static const struct file_operations hunt_fops = {
	.open		= hunt_open,
	.read		= seq_read,
	.write		= hunt_write,
	.release	= single_release,
};

static ssize_t hold_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	unsigned long index;
	struct folio *folio;
	char text[32] = "";
	int fd;

	if (len >= sizeof(text) || copy_from_user(text, buf, len) ||
	    sscanf(text, "%d %lu", &fd, &index) != 2 || file->private_data)
		return -EINVAL;

	CLASS(fd, f)(fd);
	if (fd_empty(f) || fd_file(f)->f_op != &kvm_gmem_fops)
		return -EBADF;

	folio = filemap_get_folio(file_inode(fd_file(f))->i_mapping, index);
	if (IS_ERR(folio))
		return PTR_ERR(folio);

	file->private_data = folio;
	return len;
}

static int hold_release(struct inode *inode, struct file *file)
{
	if (file->private_data)
		folio_put(file->private_data);

	return 0;
}

static const struct file_operations hold_fops = {
	.open		= nonseekable_open,
	.write		= hold_write,
	.release	= hold_release,
};

static int __init kvm_gmem_hunt_init(void)
{
	struct dentry *dir = debugfs_create_dir("guest_memfd", NULL);

	debugfs_create_file_unsafe("hunt", 0600, dir, NULL, &hunt_fops);
	debugfs_create_file_unsafe("hold", 0200, dir, NULL, &hold_fops);
	return 0;
}
late_initcall(kvm_gmem_hunt_init);
