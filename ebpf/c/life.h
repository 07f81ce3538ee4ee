// The life of processes: exec, fork, exit. Never sampled, never skipped, in a ring of their own.
#pragma once

// Ends of processes that were told. Two threads that end at the same moment both see that none is left.
struct ended {
	u32 tgid;
	u32 pad;
	u64 start;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct ended);
	__type(value, u32);
} ended SEC(".maps");

static __always_inline u32 tty_number(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct tty_struct *tty = signal ? signal->tty : NULL;
	if (!tty)
		return 0;
	u32 major = BPF_CORE_READ(tty, driver, major);
	u32 minor = BPF_CORE_READ(tty, driver, minor_start) + BPF_CORE_READ(tty, index);
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

// argv as the kernel laid it out on the new stack, at most ARGV_MAX_BYTES.
static __always_inline void put_argv(u8 *bytes, struct mm_struct *mm)
{
	u64 off = text_end(bytes), start = mm->arg_start, len = mm->arg_end - start;
	if (len > ARGV_MAX_BYTES) {
		len = ARGV_MAX_BYTES;
		text_parts(bytes) |= CUT_2;
	}
	barrier_var(off);
	barrier_var(len);
	if (off > EVENT_MAX_BYTES - ARGV_MAX_BYTES || len > ARGV_MAX_BYTES ||
	    bpf_probe_read_user(bytes + off, len, (const void *)start))
		text_parts(bytes) |= CUT_2;
	else
		text_end(bytes) = off + len;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, s32 old_pid, struct linux_binprm *bprm)
{
	struct draft d;
	bool by_descriptor = bpf_core_field_exists(bprm->fdpath) && bprm->fdpath;
	u32 kind = KIND(FAMILY_EXEC, by_descriptor ? CALL_EXECVEAT : CALL_EXECVE);
	if (!draft_begin(&d, task, kind, false, 0, sizeof(struct exec_body), true, false))
		return 0;
	struct exec_body *body = (void *)d.bytes + sizeof(struct head);
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);
	body->ppid = BPF_CORE_READ(parent, tgid);
	body->loginuid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : ~0u;
	body->tty = tty_number(task);
	body->pad = 0;
	bpf_probe_read_kernel(body->comm, sizeof(body->comm), task->comm);
	bpf_probe_read_kernel(body->parent_comm, sizeof(body->parent_comm), parent->comm);

	struct fs_struct *fs = task->fs;
	struct mm_struct *mm = task->mm;
	struct file *exe = mm ? mm->exe_file : NULL;
	u16 start = text_end(d.bytes);
	if (exe)
		put_path(d.bytes, fs, exe->f_path.dentry, exe->f_path.mnt, CUT_1);
	body->exe_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	if (mm)
		put_argv(d.bytes, mm);
	body->argv_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	if (fs)
		put_path(d.bytes, fs, fs->pwd.dentry, fs->pwd.mnt, CUT_3);
	body->cwd_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	put_cgroup(d.bytes, task);
	body->cgroup_len = text_end(d.bytes) - start;
	body->parts = text_parts(d.bytes);
	draft_send(&d);
	return 0;
}

// Which call forks, and the flags that it was given.
static __always_inline u32 fork_call(u64 *clone_flags)
{
	u32 kind = KIND(FAMILY_FORK, CALL_CLONE);
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return kind;
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct call call = call_of(regs);
	if (KIND_FAMILY(call.kind) != FAMILY_FORK)
		return kind;
	u64 first = call_arg(regs, call.compat, 0);
	if (KIND_CALL(call.kind) == CALL_CLONE)
		*clone_flags = first;
	else if (KIND_CALL(call.kind) == CALL_CLONE3)
		bpf_probe_read_user(clone_flags, sizeof(*clone_flags), (const void *)first);
	return call.kind;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct draft d;
	u64 clone_flags = 0;
	s32 child_id = child->pid;
	if (child->tgid != child_id || child->flags & PF_KTHREAD)
		return 0;
	u32 kind = fork_call(&clone_flags);
	if (!draft_begin(&d, bpf_get_current_task_btf(), kind, false, child_id, sizeof(struct fork_body), true, false))
		return 0;
	struct fork_body *body = (void *)d.bytes + sizeof(struct head);
	body->clone_flags = clone_flags;
	body->child = child_id;
	bpf_probe_read_kernel(body->comm, sizeof(body->comm), child->comm);
	put_cgroup(d.bytes, child);
	body->cgroup_len = text_end(d.bytes) - sizeof(struct head) - sizeof(*body);
	body->parts = text_parts(d.bytes);
	draft_send(&d);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct draft d;
	struct signal_struct *signal = task->signal;
	if (signal->live.counter || task->flags & PF_KTHREAD)
		return 0;
	struct task_struct *leader = task->group_leader;
	struct ended key = { .tgid = task->tgid, .start = leader->start_boottime };
	u32 one = 1;
	if (bpf_map_update_elem(&ended, &key, &one, BPF_NOEXIST) == -EEXIST)
		return 0;
	s64 status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : leader->exit_code;
	if (!draft_begin(&d, task, KIND(FAMILY_EXIT, CALL_PROCEXIT), false, status, 0, true, false))
		return 0;
	draft_send(&d);
	return 0;
}
