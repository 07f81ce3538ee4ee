// connect, accept, accept4: the endpoints of a socket.
#pragma once

#define SUN_PATH_BYTES 108

// The socket of a descriptor, as an untrusted pointer; NULL if it is something else.
static __always_inline struct sock *sock_of(struct task_struct *task, s32 fd)
{
	struct file *file = file_of(task, fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return socket ? BPF_CORE_READ(socket, sk) : NULL;
}

static __always_inline void put_endpoints(struct socket_body *body, struct sock *sk)
{
	body->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	body->protocol = BPF_CORE_READ(sk, sk_protocol);
	if (body->family == AF_INET) {
		u32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr), remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		__builtin_memcpy(body->local, &local, 4);
		__builtin_memcpy(body->remote, &remote, 4);
	} else if (body->family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		bpf_core_read(body->local, sizeof(body->local), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(body->remote, sizeof(body->remote), &sk->__sk_common.skc_v6_daddr);
	} else {
		return;
	}
	body->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	body->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

// The peer as connect was given it, where the socket has none: the call failed, or the name is a path.
static __always_inline u32 put_sockaddr(u8 *path, struct socket_body *body, u64 pointer, u32 len)
{
	struct sockaddr_any addr = {};
	if (len < 2)
		return 0;
	if (len > sizeof(addr))
		len = sizeof(addr);
	barrier_var(len);
	if (len > sizeof(addr) || bpf_probe_read_user(&addr, len, (const void *)pointer))
		return 0;
	if (!body->family)
		body->family = addr.family;
	if (addr.family == AF_UNIX && body->family == AF_UNIX) {
		// addr.port is the beginning of the path.
		bpf_probe_read_kernel(path, SUN_PATH_BYTES, &addr.port);
		return len - 2 < SUN_PATH_BYTES ? len - 2 : SUN_PATH_BYTES;
	}
	if (body->remote_port)
		return 0;
	if (addr.family == AF_INET && len >= 8) {
		__builtin_memcpy(body->remote, addr.bytes, 4);
		body->remote_port = bpf_ntohs(addr.port);
	} else if (addr.family == AF_INET6 && len >= 24) {
		__builtin_memcpy(body->remote, addr.bytes + 4, 16);
		body->remote_port = bpf_ntohs(addr.port);
	}
	return 0;
}

// The path that a Unix socket is bound to; what accept returns has its listener's.
static __always_inline u32 put_unix_name(u8 *path, struct sock *sk)
{
	struct unix_sock *un = (void *)sk;
	if (!bpf_core_field_exists(un->addr))
		return 0;
	struct unix_address *addr = BPF_CORE_READ(un, addr);
	u32 len = addr ? BPF_CORE_READ(addr, len) : 0;
	if (len <= 2)
		return 0;
	len -= 2;
	barrier_var(len);
	if (len > SUN_PATH_BYTES || bpf_probe_read_kernel(path, len, (void *)addr + field_offset(struct unix_address, name) + 2))
		return 0;
	return len;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_socket, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	struct call_args args;
	call_args(regs, &call, &args);
	if (!(call.kind & WANTED))
		return 0;
	bool is_connect = KIND_CALL(call.kind) == CALL_CONNECT;
	struct task_struct *task = bpf_get_current_task_btf();
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct socket_body), false, false))
		return 0;
	struct socket_body *body = (void *)d.bytes + sizeof(struct head);
	u8 *path = (void *)(body + 1);
	__builtin_memset(body, 0, sizeof(*body));
	body->fd = is_connect ? (s32)args.at[0] : ret < 0 ? -1 : (s32)ret;
	// A failed accept has no new socket: the listener tells where.
	struct sock *sk = sock_of(task, is_connect || ret < 0 ? (s32)args.at[0] : (s32)ret);
	if (sk)
		put_endpoints(body, sk);
	if (is_connect)
		body->path_len = put_sockaddr(path, body, args.at[1], args.at[2]);
	else if (sk && body->family == AF_UNIX)
		body->path_len = put_unix_name(path, sk);
	text_end(d.bytes) += body->path_len;
	draft_send(&d);
	return 0;
}
