// Maps, counters, and the way of an event from its first byte to a ring.
#pragma once

struct events_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); // the real size is given when user space makes the rings
};

// One ring per processor, so that producers never wait for each other.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
	__array(values, struct events_ring);
} events SEC(".maps");

// exec, fork and exit: never crowded out by files and sockets.
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} life SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_stats);
} stats SEC(".maps");

// A place in the tree of files, and the root that the process sees: pointers as numbers.
struct place {
	u64 dentry;
	u64 mnt;
	u64 root;
	u64 root_mnt;
};

struct scratch {
	u8 bytes[EVENT_MAX_BYTES];
	struct place place;
};

// Where an event is made. Tracepoint programs run with preemption disabled, so one buffer per processor is enough.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

// The same for the one that reads the snapshot: it may be interrupted by other programs of its processor.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} snapshot SEC(".maps");

#define BUFFER_OWN 0
#define BUFFER_SNAPSHOT 1

// Processes whose calls are not exported.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u32);
} proc_policy SEC(".maps");

// Beginnings of the names of files that are not told.
struct path_prefix {
	u32 bits;
	u8 name[PREFIX_MAX_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_prefix);
	__type(value, u32);
} path_drop SEC(".maps");

// An event in the making.
struct draft {
	struct cpu_stats *stats;
	u8 *bytes;
	void *ring;
	u32 family;
	u32 waiting; // bytes in the ring
	u32 wake_at;
	u32 ring_bit;
};

static __always_inline struct cpu_stats *stats_here(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&stats, &zero);
}

static __always_inline bool is_excluded(struct task_struct *task, u32 tgid)
{
	u32 policies = settings.policies;
	if (tgid == settings.own_tgid)
		return true;
	if (!policies)
		return false;
	return (policies & POLICY_PROCESSES && bpf_map_lookup_elem(&proc_policy, &tgid)) ||
	       (policies & POLICY_CGROUPS && is_unwanted_cgroup(task));
}

// What every event says of its task; `len` and `pad` are how far its texts go, and which of them were cut.
static __always_inline void put_head(struct head *head, struct task_struct *task, u32 kind, s64 ret, u32 body)
{
	head->boot_ns = bpf_ktime_get_boot_ns();
	head->tid = task->pid;
	head->tgid = task->tgid;
	head->cgroup_id = task->cgroups->dfl_cgrp->kn->id;
	head->ret = ret;
	head->kind = kind & ~WANTED;
	head->len = sizeof(struct head) + body;
	head->nargs = body / 8;
	const struct cred *cred = task->cred;
	head->uid = cred->uid.val;
	head->gid = cred->gid.val;
	head->pad = 0;
	head->ppid = task->real_parent->tgid;
}

// Where an event goes: to its processor's ring; to that of process life, whatever process it is of; or there, so that
// files cannot crowd it out, unless its process is excluded.
#define TO_EVENTS 0
#define TO_LIFE 1
#define TO_LIFE_UNLESS_EXCLUDED 2

// Counts the event and fills its head. False if it is not to be sent: excluded processes are not offered at all; events
// for the ring of a processor are given up when that is as full as their `level` says (0: never).
static __always_inline bool draft_begin(struct draft *d, struct task_struct *task, u32 kind, bool compat, s64 ret, u32 body,
					u32 to, u32 level)
{
	u32 zero = 0, cpu = bpf_get_smp_processor_id(), tgid = task->tgid;
	d->family = KIND_FAMILY(kind);
	if (d->family >= FAMILY_COUNT)
		return false;
	d->stats = stats_here();
	d->bytes = bpf_map_lookup_elem(&scratch, &zero);
	if (!d->stats || !d->bytes)
		return false;
	struct class_stats *class = &d->stats->class[d->family];
	if (to != TO_LIFE && is_excluded(task, tgid)) {
		class->policy++;
		return false;
	}
	class->offered++;
	u64 seq = ++d->stats->seq;
	if (to) {
		d->ring = &life;
		d->wake_at = settings.life_wake_at;
		d->ring_bit = 2;
		d->waiting = to == TO_LIFE || !(seq & 7) ? bpf_ringbuf_query(&life, BPF_RB_AVAIL_DATA) : 0;
	} else {
		d->ring = bpf_map_lookup_elem(&events, &cpu);
		if (!d->ring) {
			class->full++;
			return false;
		}
		d->wake_at = settings.events_wake_at;
		d->ring_bit = 1;
		// A call of a helper costs as much as all stores of an event: every eighth event looks.
		if (!(seq & 7))
			d->stats->waiting = bpf_ringbuf_query(d->ring, BPF_RB_AVAIL_DATA);
		d->waiting = d->stats->waiting;
		barrier_var(level); // the verifier wants to see the bound
		if (d->waiting > settings.events_shed_at[level & (SHED_LEVELS - 1)]) {
			class->shed++;
			return false;
		}
	}
	struct head *head = (void *)d->bytes;
	put_head(head, task, kind, ret, body);
	head->seq = seq;
	head->cpu = cpu;
	head->flags = compat ? FLAG_COMPAT : 0;
	return true;
}

// Takes back an event that was begun: it is one that nobody wants. Its number goes to the next.
static __always_inline void draft_drop(struct draft *d)
{
	struct class_stats *class = &d->stats->class[d->family];
	class->offered--;
	class->policy++;
	d->stats->seq--;
}

// Sends an event up to its `head.len`; `head.pad` is not 0 if a text was cut. The reader looks by itself every few milliseconds; it is woken only when a ring passes
// its mark, and once: a wake-up costs ten times the event.
static __always_inline void draft_send(struct draft *d)
{
	struct class_stats *class = &d->stats->class[d->family];
	volatile struct head *head = (void *)d->bytes;
	u64 flags = BPF_RB_NO_WAKEUP, len = head->len;
	bool truncated = head->pad != 0;
	barrier_var(len);
	if (len > EVENT_MAX_BYTES)
		return; // not reached: every text is checked as it is written
	if (truncated) {
		head->flags |= FLAG_TRUNCATED;
		head->pad = 0;
	}
	if (d->waiting <= d->wake_at) {
		d->stats->woken &= ~(u64)d->ring_bit;
	} else if (!(d->stats->woken & d->ring_bit)) {
		d->stats->woken |= d->ring_bit;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	if (bpf_ringbuf_output(d->ring, d->bytes, len, flags)) {
		class->full++;
		return;
	}
	class->sent++;
	if (truncated)
		class->truncated++;
}
