// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file system whose files are like guest_memfd as far as write() can tell:
 * inode, page cache and write path are guest_memfd's, and only the KVM around
 * them is missing.  For User-Mode Linux, which has no KVM, but runs at the
 * processor's own speed.
 *
 * Give a file its size with ftruncate(), which guest_memfd gets at creation.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "engine.c"

#define GMEMFS_MAGIC	0x676d656d

static struct kmem_cache *gmemfs_inode_cache;

/* Other than guest_memfd a file can be read, to see what was written. */
static int gmemfs_read_folio(struct file *file, struct folio *folio)
{
	folio_zero_range(folio, 0, folio_size(folio));
	folio_mark_uptodate(folio);
	folio_unlock(folio);
	return 0;
}

static const struct address_space_operations gmemfs_aops = {
	.read_folio	= gmemfs_read_folio,
	.dirty_folio	= noop_dirty_folio,
	.write_begin	= simple_write_begin,
	.write_end	= kvm_gmem_generic_write_end,
};

static const struct file_operations gmemfs_fops = {
	.open		= generic_file_open,
	.llseek		= generic_file_llseek,
	.read_iter	= generic_file_read_iter,
	.write_iter	= kvm_gmem_bench_write_iter,
	.splice_write	= kvm_gmem_splice_write,
};

static const struct inode_operations gmemfs_iops = {
	.setattr	= simple_setattr,
};

static struct inode *gmemfs_new_inode(struct super_block *sb, umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;

	inode->i_ino = get_next_ino();
	inode_init_owner(&nop_mnt_idmap, inode, NULL, mode);
	simple_inode_init_ts(inode);
	return inode;
}

/* As __kvm_gmem_create() sets up a file with INIT_SHARED and WRITE. */
static int gmemfs_create(struct mnt_idmap *idmap, struct inode *dir,
			 struct dentry *dentry, umode_t mode)
{
	struct inode *inode = gmemfs_new_inode(dir->i_sb, mode | S_IFREG);

	if (!inode)
		return -ENOSPC;

	inode->i_op = &gmemfs_iops;
	inode->i_fop = &gmemfs_fops;
	inode->i_mapping->a_ops = &gmemfs_aops;
	mapping_set_gfp_mask(inode->i_mapping, GFP_HIGHUSER);
	mapping_set_inaccessible(inode->i_mapping);
	mapping_set_folio_order_range(inode->i_mapping, 0, gmem_folio_order);
	GMEM_I(inode)->max_order = mapping_max_folio_order(inode->i_mapping);
	GMEM_I(inode)->flags = GUEST_MEMFD_FLAG_INIT_SHARED | GUEST_MEMFD_FLAG_WRITE;

	d_make_persistent(dentry, inode);
	return 0;
}

static const struct inode_operations gmemfs_dir_iops = {
	.create		= gmemfs_create,
	.lookup		= simple_lookup,
	.unlink		= simple_unlink,
};

static struct inode *gmemfs_alloc_inode(struct super_block *sb)
{
	struct gmem_inode *inode = alloc_inode_sb(sb, gmemfs_inode_cache, GFP_KERNEL);

	if (!inode)
		return NULL;

	mpol_shared_policy_init(&inode->policy, NULL);
	INIT_LIST_HEAD(&inode->gmem_file_list);
	xa_init(&inode->holes);
	inode->flags = 0;
	return &inode->vfs_inode;
}

static void gmemfs_free_inode(struct inode *inode)
{
	kmem_cache_free(gmemfs_inode_cache, GMEM_I(inode));
}

static const struct super_operations gmemfs_ops = {
	.alloc_inode	= gmemfs_alloc_inode,
	.free_inode	= gmemfs_free_inode,
	.statfs		= simple_statfs,
};

static int gmemfs_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct inode *root;

	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = GMEMFS_MAGIC;
	sb->s_op = &gmemfs_ops;

	root = gmemfs_new_inode(sb, S_IFDIR | 0700);
	if (!root)
		return -ENOMEM;

	root->i_op = &gmemfs_dir_iops;
	root->i_fop = &simple_dir_operations;
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int gmemfs_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, gmemfs_fill_super);
}

static const struct fs_context_operations gmemfs_context_ops = {
	.get_tree	= gmemfs_get_tree,
};

static int gmemfs_init_fs_context(struct fs_context *fc)
{
	fc->ops = &gmemfs_context_ops;
	return 0;
}

static struct file_system_type gmemfs_type = {
	.name			= "gmemfs",
	.init_fs_context	= gmemfs_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static void gmemfs_init_inode(void *inode)
{
	inode_init_once(&((struct gmem_inode *)inode)->vfs_inode);
}

static int __init gmemfs_init(void)
{
	gmemfs_inode_cache = kmem_cache_create("gmemfs_inode", sizeof(struct gmem_inode), 0,
					       SLAB_ACCOUNT, gmemfs_init_inode);
	if (!gmemfs_inode_cache)
		return -ENOMEM;

	return register_filesystem(&gmemfs_type);
}
fs_initcall(gmemfs_init);
