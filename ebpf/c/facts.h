// What is read of a task and of an inode: ids, capabilities, file times, layers of an overlay.
#pragma once

#define PIDS_TGID 1
#define PIDS_PGID 2
#define PIDS_SID 3

// The id of `pid` in the namespace at `level`; 0 where it has none.
static __always_inline struct upid upid_at(struct pid *pid, u32 level)
{
	struct upid upid = {};
	if (pid && BPF_CORE_READ(pid, level) >= level)
		bpf_probe_read_kernel(&upid, sizeof(upid),
				      (void *)pid + field_offset(struct pid, numbers) + level * sizeof(struct upid));
	return upid;
}

// The first process of a task's pid namespace.
static __always_inline struct task_struct *own_namespace_init(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, signal, pids[PIDS_TGID]);
	struct upid own = upid_at(pid, BPF_CORE_READ(pid, level));
	return BPF_CORE_READ(own.ns, child_reaper);
}

// Fills the ids; returns when the first process of the pid namespace was started, 0 in the initial one.
static __always_inline u64 put_ids(struct ids *ids, struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct pid *pid = BPF_CORE_READ(signal, pids[PIDS_TGID]);
	struct pid *group = BPF_CORE_READ(signal, pids[PIDS_PGID]);
	u32 level = BPF_CORE_READ(pid, level);
	struct upid own = upid_at(pid, level);
	ids->vpid = own.nr;
	ids->pgid = upid_at(group, 0).nr;
	ids->vpgid = upid_at(group, level).nr;
	ids->sid = upid_at(BPF_CORE_READ(signal, pids[PIDS_SID]), 0).nr;
	return level ? BPF_CORE_READ(own.ns, child_reaper, start_boottime) : 0;
}

static __always_inline void put_capabilities(struct capabilities *caps, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	bpf_core_read(&caps->permitted, sizeof(u64), &cred->cap_permitted);
	bpf_core_read(&caps->effective, sizeof(u64), &cred->cap_effective);
	bpf_core_read(&caps->inheritable, sizeof(u64), &cred->cap_inheritable);
}

#define CTIME_WAS_READ (1u << 31) // of i_ctime_nsec, since 6.13

#define NANOS(seconds, nanos) ((u64)(seconds)*1000000000 + (nanos))

static __always_inline u64 inode_ctime_ns(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_ctime_sec))
		return NANOS(BPF_CORE_READ(inode, i_ctime_sec), BPF_CORE_READ(inode, i_ctime_nsec) & ~CTIME_WAS_READ);
	struct inode___66 *newer = (void *)inode;
	if (bpf_core_field_exists(newer->__i_ctime))
		return NANOS(BPF_CORE_READ(newer, __i_ctime.tv_sec), BPF_CORE_READ(newer, __i_ctime.tv_nsec));
	struct inode___old *old = (void *)inode;
	return NANOS(BPF_CORE_READ(old, i_ctime.tv_sec), BPF_CORE_READ(old, i_ctime.tv_nsec));
}

static __always_inline u64 inode_mtime_ns(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_mtime_sec))
		return NANOS(BPF_CORE_READ(inode, i_mtime_sec), BPF_CORE_READ(inode, i_mtime_nsec));
	struct inode___67 *newer = (void *)inode;
	if (bpf_core_field_exists(newer->__i_mtime))
		return NANOS(BPF_CORE_READ(newer, __i_mtime.tv_sec), BPF_CORE_READ(newer, __i_mtime.tv_nsec));
	struct inode___old *old = (void *)inode;
	return NANOS(BPF_CORE_READ(old, i_mtime.tv_sec), BPF_CORE_READ(old, i_mtime.tv_nsec));
}

#define MEMFD_PREFIX 0x3a64666d656dULL // "memfd:", little endian

struct inode_facts {
	u64 ino;
	u32 dev;
	u16 mode;
	u16 layer;
};

// An inode of an overlay is followed by the pointer to its upper directory entry, if there is one.
static __always_inline u16 overlay_layer(struct inode *inode)
{
	void *upper = NULL;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper ? LAYER_UPPER : LAYER_LOWER;
}

static __always_inline u16 memfd_layer(struct dentry *dentry)
{
	u64 name = 0;
	bpf_probe_read_kernel(&name, 6, BPF_CORE_READ(dentry, d_name.name));
	return name == MEMFD_PREFIX ? LAYER_MEMFD : 0;
}

// The beginning of an inode: one read, since each costs as much as ten loads.
#define INODE_BYTES 80
#define inode_offset(field) field_offset(struct inode, field)
#define inode_at(bytes, type, field) (*(type *)((bytes) + (inode_offset(field))))
#define inode_has(field) (inode_offset(field) + 8 <= INODE_BYTES && !(inode_offset(field) & 7))

static __always_inline void inode_facts(struct inode_facts *facts, struct inode *inode)
{
	u8 bytes[INODE_BYTES] __attribute__((aligned(8))) = {};
	struct super_block *sb;
	facts->layer = 0;
	if (inode_has(i_sb) && inode_has(i_ino) && inode_has(i_mode)) {
		bpf_probe_read_kernel(bytes, sizeof(bytes), inode);
		sb = inode_at(bytes, struct super_block *, i_sb);
		facts->ino = inode_at(bytes, unsigned long, i_ino);
		facts->mode = inode_at(bytes, u16, i_mode);
	} else {
		sb = BPF_CORE_READ(inode, i_sb);
		facts->ino = BPF_CORE_READ(inode, i_ino);
		facts->mode = BPF_CORE_READ(inode, i_mode);
	}
	facts->dev = 0;
	if ((facts->mode & S_IFMT) == S_IFSOCK)
		return; // it lies on no device
	facts->dev = BPF_CORE_READ(sb, s_dev);
	if (BPF_CORE_READ(sb, s_magic) == OVERLAYFS_MAGIC)
		facts->layer = overlay_layer(inode);
}
