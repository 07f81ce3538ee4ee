// System calls counted by process, and how long they take. Attached only where that is wanted.
#pragma once

// Their real sizes are given when they are wanted.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct call_key);
	__type(value, struct call_count);
} call_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct call_key);
	__type(value, struct call_times);
} call_times SEC(".maps");

// When the call of a thread began.
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} call_start SEC(".maps");

// Bucket n holds what took less than 2^(n + TIMES_FIRST_BITS) ns, and not less than half of that.
static __always_inline u32 time_bucket(u64 ns)
{
	u32 bits = 0;
	ns >>= TIMES_FIRST_BITS - 1;
	for (int step = 16; step; step >>= 1) {
		if (ns >> step) {
			ns >>= step;
			bits += step;
		}
	}
	bits += ns > 0;
	return bits < TIMES_BUCKETS ? bits : TIMES_BUCKETS - 1;
}

static __always_inline void count_time(struct task_struct *task, struct call_key *key, struct call_count *count)
{
	u64 *start = bpf_task_storage_get(&call_start, task, NULL, 0);
	if (!start || !*start)
		return;
	u64 ns = bpf_ktime_get_ns() - *start;
	*start = 0;
	count->ns += ns;
	struct call_times *times = bpf_map_lookup_elem(&call_times, key);
	if (!times) {
		struct call_times none = {};
		bpf_map_update_elem(&call_times, key, &none, BPF_NOEXIST);
		times = bpf_map_lookup_elem(&call_times, key);
	}
	u32 bucket = time_bucket(ns);
	if (times && bucket < TIMES_BUCKETS)
		times->bucket[bucket]++;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_count, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 nr = call_nr(regs);
	struct call_key key = { .tgid = task->tgid, .call = nr };
	if (nr >= CALLS || key.tgid == settings.own_tgid)
		return 0;
	if (call_is_compat(task))
		key.call |= CALL_KEY_COMPAT;
	struct call_count *count = bpf_map_lookup_elem(&call_counts, &key);
	if (!count) {
		struct call_count none = {};
		bpf_map_update_elem(&call_counts, &key, &none, BPF_NOEXIST);
		count = bpf_map_lookup_elem(&call_counts, &key);
	}
	if (!count)
		return 0; // no room: seen by the number of keys
	count->calls++;
	count->errors += ret < 0 && ret >= -4095;
	if (settings.options & OPTION_LATENCY)
		count_time(task, &key, count);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 *start = bpf_task_storage_get(&call_start, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (start)
		*start = bpf_ktime_get_ns();
	return 0;
}
