// Every system call passes here as it ends; the few that are wanted go on to the program of their family.
#pragma once

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, FAMILY_COUNT);
	__type(key, u32);
	__type(value, u32);
} handlers SEC(".maps");

// Constant indices, so that the JIT makes direct jumps of the tail calls.
SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret)
{
	struct call call = call_of(regs);
	if (!(call.kind & WANTED))
		return 0;
	switch (KIND_FAMILY(call.kind)) {
	case FAMILY_OPEN:
		bpf_tail_call_static(ctx, &handlers, FAMILY_OPEN);
		break;
	case FAMILY_PATHS:
		bpf_tail_call_static(ctx, &handlers, FAMILY_PATHS);
		break;
	case FAMILY_SOCKET:
		bpf_tail_call_static(ctx, &handlers, FAMILY_SOCKET);
		break;
	}
	return 0;
}
