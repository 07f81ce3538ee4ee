// A system call as it ended: what it is, and its arguments.
#pragma once

struct call {
	u32 kind; // 0 if nobody wants it
	bool compat;
};

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 2
#define call_nr(regs) ((u32)(regs)->orig_ax)
#define call_is_compat(task) ((task)->thread_info.status & TS_COMPAT)

static __always_inline u64 call_arg(const struct pt_regs *regs, bool compat, int n)
{
	if (compat)
		return (u32)(n == 0 ? regs->bx : n == 1 ? regs->cx : n == 2 ? regs->dx : n == 3 ? regs->si : n == 4 ? regs->di : regs->bp);
	return n == 0 ? regs->di : n == 1 ? regs->si : n == 2 ? regs->dx : n == 3 ? regs->r10 : n == 4 ? regs->r8 : regs->r9;
}
#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT (1 << 22)
#define call_nr(regs) ((u32)(regs)->syscallno)
#define call_is_compat(task) ((task)->thread_info.flags & TIF_32BIT)

static __always_inline u64 call_arg(const struct pt_regs *regs, bool compat, int n)
{
	u64 value = n == 0 ? regs->orig_x0 : regs->regs[n];
	return compat ? (u32)value : value;
}
#endif

// The call of registers, by the tables of user space. A number without an entry costs one load: `calls` holds 64-bit and
// 32-bit meaning side by side, so that the task is looked at only where one of them is known.
static __always_inline struct call call_of(const struct pt_regs *regs)
{
	struct call call = {};
	u32 nr = call_nr(regs);
	if (nr >= CALLS)
		return call;
	u32 entry = settings.calls[nr];
	if (!entry)
		return call;
	call.compat = call_is_compat(bpf_get_current_task_btf()) != 0;
	call.kind = call.compat ? entry >> 16 : entry & 0xffff;
	return call;
}

// How the arguments of a known call are read: the table is user space's.
static __always_inline u32 shape_of(u32 kind)
{
	u32 which = KIND_CALL(kind);
	return which < SHAPES ? settings.shapes[which] : SHAPE_SHED_SECOND;
}

#define shed_level(shape) ((shape) >> 14)
#define ring_of(shape) ((shape)&SHAPE_LIFE ? TO_LIFE : TO_EVENTS)

struct call_args {
	u64 at[6];
};

static __always_inline void call_args(const struct pt_regs *regs, bool compat, u64 *args)
{
	for (int n = 0; n < 6; n++)
		args[n] = call_arg(regs, compat, n);
}

// The call that a 32-bit socketcall makes; its arguments are in user memory.
static __always_inline void socket_args(const struct pt_regs *regs, struct call *call, u64 *args)
{
	call_args(regs, call->compat, args);
	if (KIND_CALL(call->kind) != CALL_SOCKETCALL)
		return;
	u32 words[6] = {};
	u32 which = args[0];
	call->kind = which < SOCKETCALLS ? settings.socketcalls[which] : 0;
	bpf_probe_read_user(words, sizeof(words), (const void *)args[1]);
	for (int n = 0; n < 6; n++)
		args[n] = words[n];
}
