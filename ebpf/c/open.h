// open, openat, openat2, creat.
#pragma once

SEC("tp_btf/sys_exit")
int BPF_PROG(on_open, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	u64 args[6];
	call_args(regs, call.compat, args);
	struct open_how how = { .flags = args[1], .mode = args[2] };
	s32 dirfd = AT_FDCWD;
	u64 name = args[0];

	switch (KIND_CALL(call.kind)) {
	case CALL_CREAT:
		how.flags = O_CREAT | O_WRONLY | O_TRUNC;
		how.mode = args[1];
		break;
	case CALL_OPENAT:
		dirfd = args[0];
		name = args[1];
		how.flags = args[2];
		how.mode = args[3];
		break;
	case CALL_OPENAT2:
		dirfd = args[0];
		name = args[1];
		bpf_probe_read_user(&how, sizeof(how), (const void *)args[2]);
		break;
	}
	struct task_struct *task = bpf_get_current_task_btf();
	bool is_read = (how.flags & (O_ACCMODE | O_CREAT | O_TRUNC)) == 0;
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct open_body), TO_EVENTS, is_read))
		return 0;
	struct open_body *body = (void *)d.bytes + sizeof(struct head);
	__builtin_memset(body, 0, sizeof(*body));
	body->flags = how.flags;
	body->mode = how.mode;
	struct file *file = ret >= 0 ? file_of(task, ret) : NULL;
	if (file) {
		struct inode_facts facts;
		inode_facts(&facts, BPF_CORE_READ(file, f_inode));
		body->ino = facts.ino;
		body->dev = facts.dev;
		body->inode_mode = facts.mode;
		body->layer = facts.layer;
	}
	bool is_relative = put_name(d.bytes, name, ret, CUT_1);
	if (is_unwanted_name(d.bytes, sizeof(struct head) + sizeof(*body))) {
		draft_drop(&d);
		return 0;
	}
	body->name_len = text_end(d.bytes) - sizeof(struct head) - sizeof(*body);
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
