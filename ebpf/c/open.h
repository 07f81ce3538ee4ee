// open, openat, openat2, creat.
#pragma once

SEC("tp_btf/sys_exit")
int BPF_PROG(on_open, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	struct call_args args;
	call_args(regs, &call, &args);
	struct open_how how = { .flags = args.at[1], .mode = args.at[2] };
	s32 dirfd = AT_FDCWD;
	u64 name = args.at[0];

	switch (KIND_CALL(call.kind)) {
	case CALL_CREAT:
		how.flags = O_CREAT | O_WRONLY | O_TRUNC;
		how.mode = args.at[1];
		break;
	case CALL_OPENAT:
		dirfd = args.at[0];
		name = args.at[1];
		how.flags = args.at[2];
		how.mode = args.at[3];
		break;
	case CALL_OPENAT2:
		dirfd = args.at[0];
		name = args.at[1];
		bpf_probe_read_user(&how, sizeof(how), (const void *)args.at[2]);
		break;
	}
	struct task_struct *task = bpf_get_current_task_btf();
	bool is_read = (how.flags & (O_ACCMODE | O_CREAT | O_TRUNC)) == 0;
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct open_body), false, is_read))
		return 0;
	struct open_body *body = (void *)d.bytes + sizeof(struct head);
	body->flags = how.flags;
	body->mode = how.mode;
	body->inode_mode = 0;
	body->pad = 0;
	if (ret >= 0) {
		struct file *file = file_of(task, ret);
		body->inode_mode = file ? BPF_CORE_READ(file, f_inode, i_mode) : 0;
	}
	bool is_relative = put_name(d.bytes, name, ret, CUT_1);
	body->name_len = text_end(d.bytes) - sizeof(struct head) - sizeof(*body);
	body->base_len = 0;
	body->parts = 0;
	if (is_relative) {
		u16 start = text_end(d.bytes);
		if (put_base(d.bytes, task, dirfd, CUT_2))
			body->parts = HAS_BASE;
		body->base_len = text_end(d.bytes) - start;
	}
	body->parts |= text_parts(d.bytes);
	draft_send(&d);
	return 0;
}
