// unlink, rename and their relatives, and an execve that failed: calls with one or two paths.
#pragma once

struct path_args {
	s32 dirfd, dirfd2;
	u64 name, name2, flags;
};

static __always_inline bool path_args(u32 which, struct pt_regs *regs, struct call *call, struct path_args *out)
{
	struct call_args args;
	call_args(regs, call, &args);
	switch (which) {
	case CALL_EXECVE:
	case CALL_UNLINK:
		out->name = args.at[0];
		return false;
	case CALL_EXECVEAT:
		out->dirfd = args.at[0];
		out->name = args.at[1];
		out->flags = call_arg(regs, call->compat, 4);
		return false;
	case CALL_UNLINKAT:
		out->dirfd = args.at[0];
		out->name = args.at[1];
		out->flags = args.at[2];
		return false;
	case CALL_RENAME:
		out->name = args.at[0];
		out->name2 = args.at[1];
		return true;
	case CALL_RENAMEAT2:
		out->flags = call_arg(regs, call->compat, 4);
		// fall through
	default:
		out->dirfd = args.at[0];
		out->name = args.at[1];
		out->dirfd2 = args.at[2];
		out->name2 = args.at[3];
		return true;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_paths, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	struct path_args args = { .dirfd = AT_FDCWD, .dirfd2 = AT_FDCWD };
	u32 which = KIND_CALL(call.kind);
	// A started program is told by sched_process_exec.
	if (ret >= 0 && (which == CALL_EXECVE || which == CALL_EXECVEAT))
		return 0;
	bool has_second = path_args(which, regs, &call, &args);
	struct task_struct *task = bpf_get_current_task_btf();
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct paths_body), false, false))
		return 0;
	struct paths_body *body = (void *)d.bytes + sizeof(struct head);
	body->flags = args.flags;
	body->parts = 0;
	body->pad[0] = body->pad[1] = body->pad[2] = 0;
	u16 start = text_end(d.bytes);
	bool is_relative = put_name(d.bytes, args.name, ret, CUT_1);
	body->name_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	if (is_relative && put_base(d.bytes, task, args.dirfd, CUT_2))
		body->parts |= HAS_BASE;
	body->base_len = text_end(d.bytes) - start;
	body->name2_len = body->base2_len = 0;
	if (has_second) {
		body->parts |= HAS_NAME2;
		start = text_end(d.bytes);
		is_relative = put_name(d.bytes, args.name2, ret, CUT_3);
		body->name2_len = text_end(d.bytes) - start;
		start = text_end(d.bytes);
		if (is_relative && put_base(d.bytes, task, args.dirfd2, CUT_4))
			body->parts |= HAS_BASE2;
		body->base2_len = text_end(d.bytes) - start;
	}
	body->parts |= text_parts(d.bytes);
	draft_send(&d);
	return 0;
}
