// Calls with one or two names: unlink, rename, link, mkdir, chmod, mount and their relatives, an execve that failed.
#pragma once

// The folder of a name: what the argument says, or the working directory.
static __always_inline s32 folder_arg(struct paths_body *body, u32 at)
{
	at &= 7;
	return at < 6 ? (s32)body->args[at] : AT_FDCWD;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_paths, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	u32 which = KIND_CALL(call.kind);
	// A started program is told by sched_process_exec.
	if (ret >= 0 && (which == CALL_EXECVE || which == CALL_EXECVEAT))
		return 0;
	u32 shape = shape_of(call.kind);
	struct task_struct *task = bpf_get_current_task_btf();
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct paths_body), ring_of(shape), shed_level(shape)))
		return 0;
	struct paths_body *body = (void *)d.bytes + sizeof(struct head);
	call_args(regs, call.compat, body->args);
	body->parts = 0;
	body->pad[0] = body->pad[1] = body->pad[2] = 0;
	u16 start = text_end(d.bytes);
	bool is_relative = put_name(d.bytes, body->args[shape & 7], ret, CUT_1);
	// A second name may be wanted; what changes a state always is.
	if ((shape >> 6 & 7) >= 6 && !(shape & SHAPE_LIFE) &&
	    is_unwanted_name(d.bytes, sizeof(struct head) + sizeof(*body))) {
		draft_drop(&d);
		return 0;
	}
	body->name_len = text_end(d.bytes) - start;
	start = text_end(d.bytes);
	// A chdir that succeeded tells where it led.
	if (which == CALL_CHDIR && ret == 0)
		is_relative = true;
	if (is_relative && put_base(d.bytes, task, folder_arg(body, shape >> 3), CUT_2))
		body->parts |= HAS_BASE;
	body->base_len = text_end(d.bytes) - start;
	body->name2_len = body->base2_len = 0;
	u32 second = shape >> 6 & 7;
	if (second < 6) {
		body->parts |= HAS_NAME2;
		start = text_end(d.bytes);
		is_relative = put_name(d.bytes, body->args[second], ret, CUT_3);
		body->name2_len = text_end(d.bytes) - start;
		start = text_end(d.bytes);
		if (is_relative && put_base(d.bytes, task, folder_arg(body, shape >> 9), CUT_4))
			body->parts |= HAS_BASE2;
		body->base2_len = text_end(d.bytes) - start;
	}
	body->parts |= text_parts(d.bytes);
	draft_send(&d);
	return 0;
}
