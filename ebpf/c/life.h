// The life of processes: exec, fork, exit, and a move to another cgroup. Never sampled, never skipped, in a ring of
// their own.
#pragma once

#define GENERATIONS_MAX 16

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

// A child of a process that ends: whose it is when they have been given away, so are the others. Its id, should it be gone.
struct child {
	u64 task;
	s32 pid;
	u32 pad;
};

// Processes that have ended, and of which is still to be told whose their children become.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct child);
} leaving SEC(".maps");

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

// A stretch of user memory, as the kernel laid it out on the new stack.
static __always_inline void put_memory(u8 *bytes, u64 start, u64 end, u32 max, u32 cut)
{
	u64 off = text_end(bytes), len = end - start;
	if (len > max) {
		len = max;
		text_parts(bytes) |= cut;
	}
	barrier_var(off);
	barrier_var(len);
	if (off > EVENT_MAX_BYTES - ARGV_MAX_BYTES || len > max || bpf_probe_read_user(bytes + off, len, (const void *)start))
		text_parts(bytes) |= cut;
	else
		text_end(bytes) = off + len;
}

static __always_inline void put_exe(struct exec_body *body, struct file *exe)
{
	struct inode *inode = exe->f_inode;
	struct inode_facts facts;
	inode_facts(&facts, inode);
	body->exe_ino = facts.ino;
	body->exe_dev = facts.dev;
	body->exe_mode = facts.mode;
	body->exe_layer = facts.layer | memfd_layer(exe->f_path.dentry);
	body->exe_uid = BPF_CORE_READ(inode, i_uid.val);
	body->exe_gid = BPF_CORE_READ(inode, i_gid.val);
	body->exe_ctime_ns = inode_ctime_ns(inode);
	body->exe_mtime_ns = inode_mtime_ns(inode);
}

// What a process is, but for its texts.
static __always_inline void put_process(struct exec_body *body, struct task_struct *task)
{
	__builtin_memset(body, 0, sizeof(*body));
	struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);
	body->ppid = BPF_CORE_READ(parent, tgid);
	body->loginuid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : ~0u;
	body->tty = tty_number(task);
	body->start_ns = BPF_CORE_READ(task, group_leader, start_boottime);
	body->pidns_start_ns = put_ids(&body->ids, task);
	put_capabilities(&body->caps, task);
	bpf_probe_read_kernel(body->comm, sizeof(body->comm), task->comm);
	bpf_probe_read_kernel(body->parent_comm, sizeof(body->parent_comm), parent->comm);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, s32 old_pid, struct linux_binprm *bprm)
{
	struct draft d;
	bool by_descriptor = bpf_core_field_exists(bprm->fdpath) && bprm->fdpath;
	u32 kind = KIND(FAMILY_EXEC, by_descriptor ? CALL_EXECVEAT : CALL_EXECVE);
	if (!draft_begin(&d, task, kind, false, 0, sizeof(struct exec_body), TO_LIFE, 0))
		return 0;
	struct exec_body *body = (void *)d.bytes + sizeof(struct head);
	put_process(body, task);

	struct fs_struct *fs = task->fs;
	struct mm_struct *mm = task->mm;
	struct file *exe = mm ? mm->exe_file : NULL;
	u16 start = text_end(d.bytes);
	if (exe) {
		put_exe(body, exe);
		put_path(d.bytes, fs, exe->f_path.dentry, exe->f_path.mnt, CUT_1);
	}
	body->exe_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	if (mm)
		put_memory(d.bytes, mm->arg_start, mm->arg_end, ARGV_MAX_BYTES, CUT_2);
	body->argv_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	if (mm)
		put_memory(d.bytes, mm->env_start, mm->env_end, ENV_MAX_BYTES, 0);
	body->env_len = text_end(d.bytes) - start;
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
	if (!draft_begin(&d, bpf_get_current_task_btf(), kind, false, child_id, sizeof(struct fork_body), TO_LIFE, 0))
		return 0;
	struct fork_body *body = (void *)d.bytes + sizeof(struct head);
	body->clone_flags = clone_flags;
	body->child = child_id;
	body->start_ns = child->start_boottime;
	body->pidns_start_ns = put_ids(&body->ids, child);
	bpf_probe_read_kernel(body->comm, sizeof(body->comm), child->comm);
	put_cgroup(d.bytes, child);
	body->cgroup_len = text_end(d.bytes) - sizeof(struct head) - sizeof(*body);
	body->parts = text_parts(d.bytes);
	draft_send(&d);
	return 0;
}

// Whether no thread of the process is left that could take children over.
static __always_inline bool is_ending(struct task_struct *leader, struct signal_struct *signal)
{
	return BPF_CORE_READ(leader, flags) & PF_EXITING &&
	       (BPF_CORE_READ(signal, nr_threads) == 1 || !BPF_CORE_READ(signal, live.counter));
}

// Who takes over the children of a process that ends: the nearest ancestor that asked for it, else the first process of
// the namespace.
static __always_inline u32 reaper_of(struct task_struct *task)
{
	struct task_struct *init = own_namespace_init(task);
	struct task_struct *at = task;
	if (BPF_CORE_READ_BITFIELD_PROBED(task->signal, has_child_subreaper)) {
		for (int i = 0; i < GENERATIONS_MAX; i++) {
			at = BPF_CORE_READ(at, real_parent, group_leader);
			if (!at || at == init || !BPF_CORE_READ(at, tgid))
				break;
			struct signal_struct *signal = BPF_CORE_READ(at, signal);
			if (BPF_CORE_READ_BITFIELD_PROBED(signal, is_child_subreaper) && !is_ending(at, signal))
				return BPF_CORE_READ(at, tgid);
		}
	}
	return BPF_CORE_READ(init, tgid);
}

// Whether on_reparent will see whose the children of an ending process become: there are some, or may be (other threads have
// their own, and one that takes over orphans may be given some at this moment), and the parent is sent a signal that it does
// not ignore.
static __always_inline bool has_children_to_give(struct task_struct *task, struct task_struct *leader, struct child *first)
{
	if (!(settings.options & OPTION_REPARENT))
		return false;
	u64 next = (u64)BPF_CORE_READ(task, children.next);
	if (next != (u64)task + field_offset(struct task_struct, children)) {
		struct task_struct *child = (void *)(next - field_offset(struct task_struct, sibling));
		first->task = (u64)child;
		first->pid = BPF_CORE_READ(child, pid);
	} else if (BPF_CORE_READ(task, signal, nr_threads) == 1 &&
		   !BPF_CORE_READ_BITFIELD_PROBED(task->signal, is_child_subreaper)) {
		return false;
	}
	s32 number = BPF_CORE_READ(leader, exit_signal);
	struct sighand_struct *handlers = BPF_CORE_READ(leader, parent, sighand);
	return number > 0 && (number != SIGCHLD || BPF_CORE_READ(handlers, action[SIGCHLD - 1].sa.sa_handler) != SIG_IGN);
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
	u32 one = 1, tgid = task->tgid;
	if (bpf_map_update_elem(&ended, &key, &one, BPF_NOEXIST) == -EEXIST)
		return 0;
	struct child first = {};
	bool keeps_children =
		has_children_to_give(task, leader, &first) && !bpf_map_update_elem(&leaving, &tgid, &first, 0);
	s64 status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code : leader->exit_code;
	u32 kind = KIND(FAMILY_EXIT, CALL_PROCEXIT);
	if (!draft_begin(&d, task, kind, false, status, sizeof(struct exit_body), TO_LIFE, 0))
		return 0;
	struct exit_body *body = (void *)d.bytes + sizeof(struct head);
	body->reaper = reaper_of(task);
	body->keeps_children = keeps_children;
	draft_send(&d);
	return 0;
}

// Whether a signal tells the parent of `leader` that it has ended. It names it as the parent's pid namespace does.
static __always_inline bool is_end_of(struct kernel_siginfo *info, struct task_struct *leader)
{
	s32 words[5] = {}; // number, error, code, padding, process
	bpf_probe_read_kernel(words, sizeof(words), info);
	u32 level = BPF_CORE_READ(leader, parent, signal, pids[PIDS_TGID], level);
	return words[2] >= CLD_EXITED && words[2] <= CLD_DUMPED &&
	       words[4] == upid_at(BPF_CORE_READ(leader, signal, pids[PIDS_TGID]), level).nr;
}

// A process that ends gives its children away some time after it said that it ends, and at once tells its parent. Who takes
// them over may have changed in between.
SEC("tp_btf/signal_generate")
int BPF_PROG(on_reparent, int number, struct kernel_siginfo *info, struct task_struct *to, int group, int result)
{
	struct draft d;
	struct task_struct *task = bpf_get_current_task_btf();
	if (!(task->flags & PF_EXITING))
		return 0;
	u32 tgid = task->tgid;
	struct child *found = bpf_map_lookup_elem(&leaving, &tgid);
	if (!found)
		return 0;
	if (!is_end_of(info, task->group_leader))
		return 0; // another signal on the way to the end, or that of a child which ended before
	struct child first = *found;
	bpf_map_delete_elem(&leaving, &tgid);
	if (!draft_begin(&d, task, KIND(FAMILY_EXIT, CALL_REPARENT), false, 0, sizeof(struct exit_body), TO_LIFE, 0))
		return 0;
	struct exit_body *body = (void *)d.bytes + sizeof(struct head);
	struct task_struct *child = (void *)first.task;
	bool is_there = child && BPF_CORE_READ(child, pid) == first.pid;
	body->reaper = is_there ? BPF_CORE_READ(child, real_parent, tgid) : reaper_of(task);
	body->keeps_children = 0;
	draft_send(&d);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, struct cgroup *to, const char *path, struct task_struct *task, bool threadgroup)
{
	struct draft d;
	if (task->flags & PF_KTHREAD)
		return 0;
	u32 kind = KIND(FAMILY_MOVE, CALL_CGROUP_MOVE);
	if (!draft_begin(&d, task, kind, false, 0, sizeof(struct move_body), TO_LIFE, 0))
		return 0;
	struct move_body *body = (void *)d.bytes + sizeof(struct head);
	put_cgroup(d.bytes, task);
	body->cgroup_len = text_end(d.bytes) - sizeof(struct head) - sizeof(*body);
	body->parts = text_parts(d.bytes);
	body->pad = 0;
	draft_send(&d);
	return 0;
}
