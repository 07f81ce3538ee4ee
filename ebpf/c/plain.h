// Calls of numbers only: those that change who a process is, all others, and two events that are no calls.
#pragma once

SEC("tp_btf/sys_exit")
int BPF_PROG(on_identity, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	u32 shape = shape_of(call.kind);
	if (KIND_CALL(call.kind) == CALL_PRCTL && !(settings.options & OPTION_PRCTL) &&
	    call_arg(regs, call.compat, 0) != PR_SET_NAME)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct identity_body), ring_of(shape), 0))
		return 0;
	struct identity_body *body = (void *)d.bytes + sizeof(struct head);
	call_args(regs, call.compat, body->args);
	put_ids(&body->ids, task);
	put_capabilities(&body->caps, task);
	bpf_probe_read_kernel(body->comm, sizeof(body->comm), task->comm);
	draft_send(&d);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_plain, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	struct task_struct *task = bpf_get_current_task_btf();
	u32 level = shed_level(shape_of(call.kind));
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct plain_body), TO_EVENTS, level))
		return 0;
	struct plain_body *body = (void *)d.bytes + sizeof(struct head);
	call_args(regs, call.compat, body->args);
	draft_send(&d);
	return 0;
}

static __always_inline void send_words(struct task_struct *task, u32 which, u64 first, u64 second, u64 third)
{
	struct draft d;
	if (!draft_begin(&d, task, KIND(FAMILY_PLAIN, which), false, 0, sizeof(struct plain_body), TO_EVENTS, 0))
		return;
	struct plain_body *body = (void *)d.bytes + sizeof(struct head);
	__builtin_memset(body, 0, sizeof(*body));
	body->args[0] = first;
	body->args[1] = second;
	body->args[2] = third;
	draft_send(&d);
}

// A signal as its process gets it: sender, number, code.
SEC("tp_btf/signal_deliver")
int BPF_PROG(on_signal, int number, struct kernel_siginfo *info)
{
	u64 sender = 0;
	if (!(settings.options & OPTION_SIGNALS))
		return 0;
	// For the kernel's own signals the fields behind the code mean other things.
	s32 code = BPF_CORE_READ(info, si_code);
	if (code <= 0) {
		s32 words[5] = {};
		bpf_probe_read_kernel(words, sizeof(words), info);
		sender = words[4];
	}
	send_words(bpf_get_current_task_btf(), CALL_SIGNALDELIVER, sender, number, code);
	return 0;
}

// A process that the kernel kills because memory is short. Until 6.8 the tracepoint gave a number: then it is not seen.
SEC("tp_btf/mark_victim")
int BPF_PROG(on_oom, struct task_struct *victim)
{
	send_words(victim, CALL_OOMKILL, victim->tgid, 9, 0);
	return 0;
}
