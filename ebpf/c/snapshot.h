// Every process there is, as the exec that would have told it: read once, when the agent starts. Sleepable, since the
// arguments of another process may have to be brought into memory; a kernel that cannot do that has /proc.
#pragma once

SEC("iter.s/task")
int each_process(struct bpf_iter__task *ctx)
{
	u32 zero = 0;
	struct task_struct *task = ctx->task;
	if (!task || task->pid != task->tgid)
		return 0;
	struct scratch *buffer = bpf_map_lookup_elem(&snapshot, &zero);
	if (!buffer)
		return 0;
	u8 *bytes = buffer->bytes;
	struct head *head = (void *)bytes;
	put_head(head, task, KIND(FAMILY_EXEC, CALL_EXECVE), 0, sizeof(struct exec_body));
	head->seq = 0;
	head->cpu = 0;
	head->flags = 0;
	struct exec_body *body = (void *)bytes + sizeof(struct head);
	put_process(body, task);

	struct fs_struct *fs = task->fs;
	struct mm_struct *mm = task->mm;
	struct file *exe = mm ? mm->exe_file : NULL;
	u16 start = text_end(bytes);
	if (exe) {
		put_exe(body, exe);
		if (fs)
			put_far_path(bytes, exe->f_path.dentry, exe->f_path.mnt, fs, BUFFER_SNAPSHOT, CUT_1);
	}
	body->exe_len = text_end(bytes) - start;
	start = text_end(bytes);
	if (mm) {
		u64 off = text_end(bytes), from = mm->arg_start, len = mm->arg_end - from;
		if (len > ARGV_MAX_BYTES) {
			len = ARGV_MAX_BYTES;
			text_parts(bytes) |= CUT_2;
		}
		barrier_var(off);
		barrier_var(len);
		if (off <= EVENT_MAX_BYTES - ARGV_MAX_BYTES && len <= ARGV_MAX_BYTES &&
		    !bpf_copy_from_user_task(bytes + off, len, (const void *)from, task, 0))
			text_end(bytes) = off + len;
		else
			text_parts(bytes) |= CUT_2;
	}
	body->argv_len = text_end(bytes) - start;
	start = text_end(bytes);
	if (fs)
		put_far_path(bytes, fs->pwd.dentry, fs->pwd.mnt, fs, BUFFER_SNAPSHOT, CUT_3);
	body->cwd_len = text_end(bytes) - start;
	start = text_end(bytes);
	put_cgroup(bytes, task);
	body->cgroup_len = text_end(bytes) - start;
	body->parts = text_parts(bytes);
	text_parts(bytes) = 0;
	u64 len = text_end(bytes);
	barrier_var(len);
	if (len <= EVENT_MAX_BYTES)
		bpf_seq_write(ctx->meta->seq, bytes, len);
	return 0;
}
