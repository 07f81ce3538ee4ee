// Texts of an event: names, and paths as components (the last one first, each followed by NUL) by walks up from a dentry,
// a cgroup or a descriptor.
//
// The end of the text so far and the marks of cut texts are kept in the buffer (`head.len`, `head.pad`), not in variables:
// to the verifier what comes back from memory is just a number, so that the many ways through a loop become one state.
#pragma once

#define COMPONENTS_MAX 32
#define MOUNTS_MAX 8
#define COMPONENT_BYTES 256

#define text_end(bytes) (((volatile struct head *)(bytes))->len)
#define text_parts(bytes) (((volatile struct head *)(bytes))->pad)

// Writes one component. False if there is no room or no name.
static __always_inline bool put_component(u8 *bytes, const void *name)
{
	u64 off = text_end(bytes);
	barrier_var(off);
	if (off > EVENT_MAX_BYTES - COMPONENT_BYTES)
		return false;
	long n = bpf_probe_read_kernel_str(bytes + off, COMPONENT_BYTES, name);
	if (n <= 0)
		return false;
	text_end(bytes) = off + n;
	return true;
}

// The walk for pointers that the verifier does not know: after the first mount point, and from a descriptor. Every step
// is a read by helper. False if it ends before the root.
//
// A global function of a number: it is verified once, not at every call and state. So it takes its start from the buffer
// that the event is made in.
__noinline int walk_far(u32 which)
{
	u32 zero = 0;
	struct scratch *buffer;
	if (which == BUFFER_SNAPSHOT)
		buffer = bpf_map_lookup_elem(&snapshot, &zero);
	else
		buffer = bpf_map_lookup_elem(&scratch, &zero);
	if (!buffer)
		return false;
	struct dentry *dentry = (void *)buffer->place.dentry;
	void *mnt = (void *)buffer->place.mnt, *root = (void *)buffer->place.root, *root_mnt = (void *)buffer->place.root_mnt;
	for (int i = 0; i < COMPONENTS_MAX + MOUNTS_MAX; i++) {
		if (dentry == root && mnt == root_mnt)
			return true;
		if (dentry == BPF_CORE_READ((struct vfsmount *)mnt, mnt_root)) {
			struct mount *mount = mnt - field_offset(struct mount, mnt);
			struct mount *up = BPF_CORE_READ(mount, mnt_parent);
			if (up == mount)
				return true;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mnt = (void *)up + field_offset(struct mount, mnt);
			continue;
		}
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (!put_component(buffer->bytes, BPF_CORE_READ(dentry, d_name.name)) || parent == dentry)
			return false;
		dentry = parent;
	}
	return false;
}

static __always_inline bool put_far(u8 *bytes, struct dentry *dentry, struct vfsmount *mnt, struct fs_struct *fs, u32 which)
{
	volatile struct place *place = &((struct scratch *)bytes)->place;
	place->dentry = (u64)dentry;
	place->mnt = (u64)mnt;
	place->root = (u64)fs->root.dentry;
	place->root_mnt = (u64)fs->root.mnt;
	return walk_far(which);
}

// Writes a folder or file that only untrusted pointers lead to. What has been unlinked, or ends before the root, gets the
// mark `cut`.
static __always_inline void put_far_path(u8 *bytes, struct dentry *dentry, struct vfsmount *mnt, struct fs_struct *fs,
					 u32 which, u32 cut)
{
	bool is_unlinked = !BPF_CORE_READ(dentry, d_hash.pprev) && dentry != BPF_CORE_READ(mnt, mnt_root);
	if (!put_far(bytes, dentry, mnt, fs, which) || is_unlinked)
		text_parts(bytes) |= cut;
}

// Writes a folder or file. Trusted pointers are loaded directly up to the first mount point, which is all the way on most
// hosts and in containers. A path that ends before the root, or that has been unlinked, gets the mark `cut`.
static __always_inline void put_path(u8 *bytes, struct fs_struct *fs, struct dentry *dentry, struct vfsmount *mnt, u32 cut)
{
	if (!fs || !mnt || !dentry)
		goto cut;
	struct dentry *root = fs->root.dentry, *mnt_root = mnt->mnt_root;
	struct vfsmount *root_mnt = fs->root.mnt;
	if (!dentry->d_hash.pprev && dentry != mnt_root)
		text_parts(bytes) |= cut;
	for (int i = 0; i < COMPONENTS_MAX; i++) {
		if (dentry == root && mnt == root_mnt)
			return;
		if (dentry == mnt_root) {
			if (!put_far(bytes, dentry, mnt, fs, BUFFER_OWN))
				goto cut;
			return;
		}
		struct dentry *parent = dentry->d_parent;
		if (!put_component(bytes, dentry->d_name.name) || parent == dentry)
			goto cut;
		dentry = parent;
	}
cut:
	text_parts(bytes) |= cut;
}

// The file of a descriptor, as an untrusted pointer; NULL if there is none.
static __always_inline struct file *file_of(struct task_struct *task, s32 fd)
{
	struct file *file = NULL;
	struct files_struct *files = task->files;
	if (!files || fd < 0)
		return NULL;
	struct fdtable *fdt = files->fdt;
	if (!fdt || (u32)fd >= fdt->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), fdt->fd + fd);
	return file;
}

// What a file is, and what its kind keeps with it: one read where they lie side by side, as they have since 6.12.
static __always_inline void file_parts(struct file *file, struct inode **inode, void **private_data)
{
	if (field_offset(struct file, f_inode) == field_offset(struct file, private_data) + sizeof(void *)) {
		void *pair[2] = {};
		bpf_core_read(pair, sizeof(pair), &file->private_data);
		*private_data = pair[0];
		*inode = pair[1];
	} else {
		*private_data = BPF_CORE_READ(file, private_data);
		*inode = BPF_CORE_READ(file, f_inode);
	}
}

// Writes where a name starts that is relative to `dirfd`: the working directory, or the descriptor's folder. False if
// there is no such descriptor.
static __always_inline bool put_base(u8 *bytes, struct task_struct *task, s32 dirfd, u32 cut)
{
	struct fs_struct *fs = task->fs;
	if (!fs)
		return false;
	if (dirfd == AT_FDCWD) {
		put_path(bytes, fs, fs->pwd.dentry, fs->pwd.mnt, cut);
		return true;
	}
	struct file *file = file_of(task, dirfd);
	if (!file)
		return false;
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	put_far_path(bytes, dentry, BPF_CORE_READ(file, f_path.mnt), fs, BUFFER_OWN, cut);
	return true;
}

// Writes the path of a task's cgroup.
static __always_inline void put_cgroup(u8 *bytes, struct task_struct *task)
{
	struct kernfs_node *node = BPF_CORE_READ(cgroup_of(task), kn);
	for (int i = 0; i < COMPONENTS_MAX; i++) {
		struct kernfs_node *parent = kernfs_parent(node);
		if (!parent)
			return;
		if (!put_component(bytes, BPF_CORE_READ(node, name)))
			break;
		node = parent;
	}
	text_parts(bytes) |= CUT_4;
}

#define EACH_BYTE(byte) (0x0101010101010101ULL * (byte))

// Whether a name goes up. Without a branch, or the verifier would follow each byte both ways.
static __always_inline bool has_two_dots(const u8 *name)
{
	u64 before = 0, found = 0;
	for (int i = 0; i < PREFIX_MAX_BYTES / 8; i++) {
		u64 word = ((const u64 *)name)[i] ^ EACH_BYTE('.');
		u64 dots = ~(((word & EACH_BYTE(0x7f)) + EACH_BYTE(0x7f)) | word | EACH_BYTE(0x7f));
		found |= dots & (dots << 8 | before);
		before = dots >> 56;
	}
	return found;
}

// Says whether the name that begins at `start`, and is the last text so far, lies under a folder that nobody wants to
// hear of. Not of a name that goes up: it may lead anywhere. What is longer, or relative, user space decides.
static __always_inline bool is_unwanted_name(u8 *bytes, u64 start)
{
	struct path_prefix key __attribute__((aligned(8))) = {};
	u8 name[PREFIX_MAX_BYTES] __attribute__((aligned(8))) = {};
	u64 len = text_end(bytes) - start;
	barrier_var(len);
	if (!(settings.options & OPTION_PREFIXES) || len > PREFIX_MAX_BYTES || len < 1)
		return false;
	bpf_probe_read_kernel(name, len, bytes + start);
	if (name[0] != '/' || has_two_dots(name))
		return false;
	key.bits = len * 8;
	__builtin_memcpy(key.name, name, sizeof(key.name));
	return bpf_map_lookup_elem(&path_drop, &key);
}

// Writes a name from user memory without its NUL, at most NAME_MAX_BYTES. True if it is a relative one.
static __always_inline bool put_name(u8 *bytes, u64 pointer, s64 ret, u32 cut)
{
	u64 off = text_end(bytes);
	barrier_var(off);
	if (off > EVENT_MAX_BYTES - NAME_MAX_BYTES) {
		text_parts(bytes) |= cut;
		return false;
	}
	long n = bpf_probe_read_user_str(bytes + off, NAME_MAX_BYTES, (const void *)pointer);
	if (n <= 0) {
		text_parts(bytes) |= cut;
		return false;
	}
	if (n == NAME_MAX_BYTES && ret == -ENAMETOOLONG)
		text_parts(bytes) |= cut;
	text_end(bytes) = off + n - 1;
	return bytes[off] != '/';
}
