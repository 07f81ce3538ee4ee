// connect, accept, bind, and messages: the endpoints of a socket, and the first bytes of what is sent.
#pragma once

#define SUN_PATH_BYTES 108

// The socket of a descriptor, as an untrusted pointer, and its inode; NULL if it is something else.
static __always_inline struct sock *sock_of(struct task_struct *task, s32 fd, u64 *ino)
{
	struct file *file = file_of(task, fd);
	if (!file)
		return NULL;
	struct inode_facts facts;
	struct inode *inode;
	struct socket *socket;
	file_parts(file, &inode, (void **)&socket);
	inode_facts(&facts, inode);
	*ino = facts.ino;
	if ((facts.mode & S_IFMT) != S_IFSOCK)
		return NULL;
	return socket ? BPF_CORE_READ(socket, sk) : NULL;
}

// Where the kernel has addresses, ports, family and state: one read, since each costs as much as ten loads.
#define COMMON_BYTES 24
#define common_offset(field) field_offset(struct sock, __sk_common.field)
#define common_at(common, type, field) (*(type *)((common) + (common_offset(field))))
#define common_has(field) (common_offset(field) + 4 <= COMMON_BYTES)

static __always_inline void put_kind(struct socket_body *body, struct sock *sk)
{
	u16 kind[2] = {};
	if (field_offset(struct sock, sk_protocol) == field_offset(struct sock, sk_type) + 2) {
		bpf_core_read(kind, sizeof(kind), &sk->sk_type);
		body->sock_type = kind[0];
		body->protocol = kind[1];
	} else {
		body->sock_type = BPF_CORE_READ(sk, sk_type);
		body->protocol = BPF_CORE_READ(sk, sk_protocol);
	}
}

static __always_inline void put_endpoints(struct socket_body *body, struct sock *sk)
{
	u8 common[COMMON_BYTES] __attribute__((aligned(8))) = {};
	if (!common_has(skc_daddr) || !common_has(skc_rcv_saddr) || !common_has(skc_dport) || !common_has(skc_num) ||
	    !common_has(skc_family) || !common_has(skc_state))
		return; // no kernel so far
	bpf_probe_read_kernel(common, sizeof(common), sk);
	put_kind(body, sk);
	body->family = common_at(common, u16, skc_family);
	body->state = common_at(common, u8, skc_state);
	if (body->family == AF_INET) {
		*(u32 *)body->local = common_at(common, u32, skc_rcv_saddr);
		*(u32 *)body->remote = common_at(common, u32, skc_daddr);
	} else if (body->family == AF_INET6 && bpf_core_field_exists(sk->__sk_common.skc_v6_daddr)) {
		bpf_core_read(body->local, sizeof(body->local), &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(body->remote, sizeof(body->remote), &sk->__sk_common.skc_v6_daddr);
	} else {
		return;
	}
	body->local_port = common_at(common, u16, skc_num);
	body->remote_port = bpf_ntohs(common_at(common, u16, skc_dport));
}

// The peer as the call was given it, where the socket has none: the call failed, the socket is not connected, or the
// name is a path. What bind was given is the local end.
static __always_inline u32 put_sockaddr(u8 *path, struct socket_body *body, u64 pointer, u32 len, bool is_local)
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
	u16 *port = is_local ? &body->local_port : &body->remote_port;
	u8 *address = is_local ? body->local : body->remote;
	if (*port)
		return 0;
	if (addr.family == AF_INET && len >= 8) {
		__builtin_memcpy(address, addr.bytes, 4);
		*port = bpf_ntohs(addr.port);
	} else if (addr.family == AF_INET6 && len >= 24) {
		__builtin_memcpy(address, addr.bytes + 4, 16);
		*port = bpf_ntohs(addr.port);
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

// Where a message goes to or comes from, and its first bytes: of the call's arguments, or of a message header.
struct message {
	u64 name;
	u64 data;
	u32 name_len;
	u32 data_len;
	u32 flags;
};

static __always_inline void read_header(struct message *message, u64 pointer, bool compat)
{
	if (compat) {
		struct compat_msghdr header = {};
		u32 first[2] = {};
		bpf_probe_read_user(&header, sizeof(header), (const void *)pointer);
		message->name = header.name;
		message->name_len = header.name_len;
		if (header.iov_len)
			bpf_probe_read_user(first, sizeof(first), (const void *)(u64)header.iov);
		message->data = first[0];
		message->data_len = first[1];
	} else {
		struct user_msghdr header = {};
		u64 first[2] = {};
		bpf_probe_read_user(&header, sizeof(header), (const void *)pointer);
		message->name = header.name;
		message->name_len = header.name_len;
		if (header.iov_len)
			bpf_probe_read_user(first, sizeof(first), (const void *)header.iov);
		message->data = first[0];
		message->data_len = first[1];
	}
}

static __always_inline void read_message(struct message *message, u32 which, u64 *args, bool compat)
{
	if (which == CALL_SENDMSG || which == CALL_RECVMSG) {
		read_header(message, args[1], compat);
		message->flags = args[2];
		return;
	}
	message->data = args[1];
	message->data_len = args[2];
	message->flags = args[3];
	message->name = args[4];
	message->name_len = args[5];
	if (which == CALL_RECVFROM) {
		message->name_len = 0;
		if (args[5])
			bpf_probe_read_user(&message->name_len, sizeof(u32), (const void *)args[5]);
	}
}

static __always_inline u16 put_data(u8 *bytes, u64 pointer, u64 len, s64 ret)
{
	u64 off = text_end(bytes);
	if (ret <= 0)
		return 0;
	if (len > (u64)ret)
		len = ret;
	if (len > DATA_MAX_BYTES)
		len = DATA_MAX_BYTES;
	barrier_var(off);
	barrier_var(len);
	if (off > EVENT_MAX_BYTES - DATA_MAX_BYTES || len > DATA_MAX_BYTES ||
	    bpf_probe_read_user(bytes + off, len, (const void *)pointer))
		return 0;
	text_end(bytes) = off + len;
	return len;
}

#define is_message(which) ((which) >= CALL_SENDTO && (which) <= CALL_RECVMSG)
#define is_accept(which) ((which) == CALL_ACCEPT || (which) == CALL_ACCEPT4)

SEC("tp_btf/sys_exit")
int BPF_PROG(on_socket, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	u64 args[6];
	socket_args(regs, &call, args);
	if (!(call.kind & WANTED))
		return 0;
	if (KIND_FAMILY(call.kind) == FAMILY_DESCRIPTOR) {
		bpf_tail_call_static(ctx, &handlers, FAMILY_DESCRIPTOR);
		return 0;
	}
	u32 which = KIND_CALL(call.kind);
	struct task_struct *task = bpf_get_current_task_btf();
	// A failed accept has no new socket: the listener tells where.
	s32 fd = is_accept(which) && ret >= 0 ? (s32)ret : (s32)args[0];
	u64 ino = 0;
	struct sock *sk = sock_of(task, fd, &ino);
	if (is_message(which) && !(settings.options & OPTION_STREAMS)) {
		u16 family = sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;
		if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_type) == SOCK_STREAM)
			return 0;
	}
	u32 shape = shape_of(call.kind);
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct socket_body),
			 shape & SHAPE_LIFE ? TO_LIFE_UNLESS_EXCLUDED : TO_EVENTS, shed_level(shape)))
		return 0;
	struct socket_body *body = (void *)d.bytes + sizeof(struct head);
	u8 *path = (void *)(body + 1);
	__builtin_memset(body, 0, sizeof(*body));
	body->fd = is_accept(which) && ret < 0 ? -1 : fd;
	body->ino = ino;
	if (sk)
		put_endpoints(body, sk);
	struct message message = {};
	if (which == CALL_CONNECT || which == CALL_BIND) {
		message.name = args[1];
		message.name_len = args[2];
	} else if (is_message(which)) {
		read_message(&message, which, args, call.compat);
		body->flags = message.flags;
	}
	if (message.name && message.name_len)
		body->path_len = put_sockaddr(path, body, message.name, message.name_len, which == CALL_BIND);
	else if (sk && body->family == AF_UNIX)
		body->path_len = put_unix_name(path, sk);
	text_end(d.bytes) += body->path_len;
	if (is_message(which))
		body->data_len = put_data(d.bytes, message.data, message.data_len, ret);
	else if (settings.options & OPTION_FLOWS && which != CALL_BIND && sk && body->protocol == IPPROTO_TCP)
		flow_owned(sk, task->tgid, ret);
	draft_send(&d);
	return 0;
}
