// Connections: what they moved, how long they took to make, whose they are. A connection is told as it ends; those that
// last are read by an iterator. Attached only where flows are wanted.
//
// State changes come in interrupts, in the middle of other programs: nothing here touches the buffer in which those make
// events, nor their numbers.
#pragma once

// What is known of a connection beside what its socket counts.
struct flow_state {
	u64 start_ns;
	u32 tgid;
	u32 connect_us;
	u32 direction;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1); // the real size is given where flows are wanted
	__type(key, u64);
	__type(value, struct flow_state);
} flow_states SEC(".maps");

// Datagrams by socket and process.
struct datagram_key {
	u64 sk;
	u64 tgid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct datagram_key);
	__type(value, struct flow_body);
} datagrams SEC(".maps");

// A connect or accept that succeeded, or goes on by itself.
static __always_inline void flow_owned(struct sock *sk, u32 tgid, s64 ret)
{
	u64 key = (u64)sk;
	if (ret < 0 && ret != -EINPROGRESS)
		return;
	struct flow_state *state = bpf_map_lookup_elem(&flow_states, &key);
	if (state) {
		state->tgid = tgid;
		return;
	}
	struct flow_state made = { .tgid = tgid };
	bpf_map_update_elem(&flow_states, &key, &made, 0);
}

static __always_inline void flow_ends(struct flow_body *flow, struct sock_common *common)
{
	flow->family = common->skc_family;
	flow->remote_port = bpf_ntohs(common->skc_dport);
	if (flow->family == AF_INET) {
		*(u32 *)flow->local = common->skc_rcv_saddr;
		*(u32 *)flow->remote = common->skc_daddr;
	} else if (flow->family == AF_INET6 && bpf_core_field_exists(common->skc_v6_daddr)) {
		bpf_core_read(flow->local, sizeof(flow->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(flow->remote, sizeof(flow->remote), &common->skc_v6_daddr);
	}
}

static __always_inline void flow_of(struct flow_body *flow, struct tcp_sock *tcp, struct sock_common *common, u64 key)
{
	flow->sk = key;
	flow->protocol = IPPROTO_TCP;
	flow->bytes_sent = tcp->bytes_sent - tcp->bytes_retrans;
	// The end of what the peer sends counts as a byte.
	bool is_over = common->skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
	flow->bytes_received = tcp->bytes_received - is_over;
	flow->packets_sent = tcp->segs_out;
	flow->packets_received = tcp->segs_in;
	flow->retransmits = tcp->total_retrans;
	// The other place where a socket has its port is empty once it is closed.
	flow->local_port = bpf_ntohs(tcp->inet_conn.icsk_inet.inet_sport);
	flow->rtt_us = tcp->srtt_us >> 3;
	struct flow_state *state = bpf_map_lookup_elem(&flow_states, &key);
	if (state) {
		flow->start_ns = state->start_ns;
		flow->tgid = state->tgid;
		flow->connect_us = state->connect_us;
		flow->direction = state->direction;
	}
}

// The time of the handshake: what the kernel took it for, or, if it had to be sent again, the time since the first try.
static __always_inline u32 handshake_us(struct tcp_sock *tcp)
{
	if (!tcp->total_retrans)
		return tcp->srtt_us >> 3;
	return ((u32)(tcp->tcp_mstamp / 1000) - tcp->retrans_stamp) * 1000;
}

static __always_inline void flow_established(struct tcp_sock *tcp, u64 key, bool is_out)
{
	struct flow_state made = { .start_ns = bpf_ktime_get_boot_ns(), .direction = is_out ? FLOW_OUT : FLOW_IN };
	if (is_out) {
		struct flow_state *state = bpf_map_lookup_elem(&flow_states, &key);
		made.tgid = state ? state->tgid : 0;
		made.connect_us = handshake_us(tcp);
	}
	bpf_map_update_elem(&flow_states, &key, &made, 0);
}

struct flow_event {
	struct head head;
	struct flow_body flow;
};

// Straight to the ring, with counters that interrupts may share.
static __always_inline void flow_ended(struct tcp_sock *tcp, struct sock_common *common, u64 key)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct cpu_stats *here = stats_here();
	void *ring = bpf_map_lookup_elem(&events, &cpu);
	if (!here || !ring)
		return;
	struct class_stats *class = &here->class[FAMILY_FLOW];
	__sync_fetch_and_add(&class->offered, 1);
	struct flow_event *event = bpf_ringbuf_reserve(ring, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&class->full, 1);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->head.boot_ns = bpf_ktime_get_boot_ns();
	event->head.kind = KIND(FAMILY_FLOW, CALL_FLOW);
	event->head.len = sizeof(*event);
	event->head.cpu = cpu;
	event->head.nargs = sizeof(event->flow) / 8;
	flow_of(&event->flow, tcp, common, key);
	flow_ends(&event->flow, common);
	event->head.tgid = event->head.tid = event->flow.tgid;
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	__sync_fetch_and_add(&class->sent, 1);
	bpf_map_delete_elem(&flow_states, &key);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_tcp_state, struct sock *sk, int old, int new)
{
	bool is_new = new == TCP_ESTABLISHED;
	// What never was a connection is told by the call that failed.
	if (!is_new && (new != TCP_CLOSE || old == TCP_SYN_SENT || old == TCP_LISTEN || old == TCP_CLOSE))
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	if (is_new)
		flow_established(tcp, (u64)sk, old == TCP_SYN_SENT);
	else
		flow_ended(tcp, &sk->__sk_common, (u64)sk);
	return 0;
}

// Every connection there is, as bodies one after the other.
SEC("iter/tcp")
int each_flow(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	if (!common)
		return 0;
	u32 state = common->skc_state;
	if (state == TCP_LISTEN || state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV || state == TCP_SYN_SENT)
		return 0;
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(common);
	if (!tcp)
		return 0;
	struct flow_body flow = {};
	flow_of(&flow, tcp, common, (u64)common);
	flow_ends(&flow, common);
	bpf_seq_write(ctx->meta->seq, &flow, sizeof(flow));
	return 0;
}

// Whose the connections are that were there before: looked at once.
SEC("iter/task_file")
int each_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	if (!task || !file)
		return 0;
	struct socket *socket = bpf_sock_from_file(file);
	struct sock *sk = socket ? socket->sk : NULL;
	if (!sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	u64 key = (u64)sk;
	struct flow_state made = { .tgid = task->tgid };
	bpf_map_update_elem(&flow_states, &key, &made, BPF_NOEXIST);
	return 0;
}

static __always_inline int count_datagram(struct sock *sk, int ret, bool is_sent)
{
	if (ret <= 0 || sk->sk_protocol != IPPROTO_UDP)
		return 0;
	struct datagram_key key = { .sk = (u64)sk, .tgid = bpf_get_current_task_btf()->tgid };
	if (key.tgid == settings.own_tgid)
		return 0;
	struct flow_body *flow = bpf_map_lookup_elem(&datagrams, &key);
	if (!flow) {
		struct flow_body made = { .sk = key.sk, .start_ns = bpf_ktime_get_boot_ns(), .protocol = IPPROTO_UDP };
		made.tgid = key.tgid;
		made.local_port = sk->__sk_common.skc_num;
		flow_ends(&made, &sk->__sk_common);
		bpf_map_update_elem(&datagrams, &key, &made, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&datagrams, &key);
	}
	if (!flow)
		return 0;
	__sync_fetch_and_add(is_sent ? &flow->bytes_sent : &flow->bytes_received, ret);
	__sync_fetch_and_add(is_sent ? &flow->packets_sent : &flow->packets_received, 1);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_sent, struct sock *sk, int ret, int flags)
{
	return count_datagram(sk, ret, true);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_received, struct sock *sk, int ret, int flags)
{
	return count_datagram(sk, ret, false);
}
