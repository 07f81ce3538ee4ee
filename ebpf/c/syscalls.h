// Every system call passes here as it ends; the few that are wanted go on to the program of their family.
#pragma once

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, FAMILY_COUNT);
	__type(key, u32);
	__type(value, u32);
} handlers SEC(".maps");

// Constant indices, so that the JIT makes direct jumps of the tail calls.
#define HAND_OVER(family) \
	case family: \
		bpf_tail_call_static(ctx, &handlers, family); \
		break

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long ret)
{
	struct call call = call_of(regs);
	if (!(call.kind & WANTED))
		return 0;
	switch (KIND_FAMILY(call.kind)) {
		HAND_OVER(FAMILY_OPEN);
		HAND_OVER(FAMILY_PATHS);
		HAND_OVER(FAMILY_SOCKET);
		HAND_OVER(FAMILY_DESCRIPTOR);
		HAND_OVER(FAMILY_IDENTITY);
		HAND_OVER(FAMILY_PLAIN);
	}
	return 0;
}
