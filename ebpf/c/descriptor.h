// Calls that make a descriptor or work on one: dup, fchmod, socket, listen, setns, memfd_create, read, ... The kernel
// knows what the descriptor is; no table of descriptors is kept.
#pragma once

static __always_inline void put_file(u8 *bytes, struct descriptor_body *body, struct task_struct *task, struct file *file,
				     struct inode *inode)
{
	struct inode_facts facts;
	inode_facts(&facts, inode);
	body->ino = facts.ino;
	body->dev = facts.dev;
	body->inode_mode = facts.mode;
	body->layer = facts.layer;
	u32 format = facts.mode & S_IFMT;
	if (format == S_IFSOCK || format == S_IFIFO || !task->fs)
		return;
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	body->layer |= memfd_layer(dentry);
	struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	u16 start = text_end(bytes);
	if (!put_far(bytes, dentry, mnt, task->fs, BUFFER_OWN))
		body->parts |= CUT_1;
	body->base_len = text_end(bytes) - start;
}

// What a new socket is: of the kinds that nearly all are, its call says it all and the kernel is not asked.
static __always_inline bool put_new_socket(struct socket_body *body, const u64 *args)
{
	u32 family = args[0], type = args[1] & SOCK_TYPE_MASK;
	bool is_inet = family == AF_INET || family == AF_INET6;
	if (!(is_inet || family == AF_UNIX) || (type != SOCK_STREAM && type != SOCK_DGRAM) || (u32)args[2])
		return false;
	body->family = family;
	body->sock_type = type;
	body->protocol = !is_inet ? 0 : type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
	body->state = TCP_CLOSE;
	return true;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_descriptor, struct pt_regs *regs, long ret)
{
	struct draft d;
	struct call call = call_of(regs);
	u64 args[6];
	socket_args(regs, &call, args);
	u32 shape = shape_of(call.kind);
	struct task_struct *task = bpf_get_current_task_btf();
	if (!draft_begin(&d, task, call.kind, call.compat, ret, sizeof(struct descriptor_body), ring_of(shape),
			 shed_level(shape)))
		return 0;
	struct descriptor_body *body = (void *)d.bytes + sizeof(struct head);
	__builtin_memset(body, 0, sizeof(*body));
	for (int n = 0; n < 6; n++)
		body->args[n] = args[n];
	u32 at = shape & 7;
	s64 fd = at == SHAPE_RESULT ? ret : at < 6 ? (s32)body->args[at] : -1;
	body->socket.fd = fd < 0 ? -1 : (s32)fd;
	struct file *file = fd >= 0 ? file_of(task, fd) : NULL;
	if (file) {
		struct inode *inode;
		struct socket *socket;
		file_parts(file, &inode, (void **)&socket);
		put_file(d.bytes, body, task, file, inode);
		if ((body->inode_mode & S_IFMT) == S_IFSOCK) {
			body->socket.ino = body->ino;
			bool is_told = KIND_CALL(call.kind) == CALL_SOCKET && put_new_socket(&body->socket, body->args);
			struct sock *sk = socket && !is_told ? BPF_CORE_READ(socket, sk) : NULL;
			if (sk)
				put_endpoints(&body->socket, sk);
		}
	}
	u32 text = shape >> 3 & 7, kind = shape >> 6 & 3;
	u16 start = text_end(d.bytes);
	if (kind == SHAPE_TEXT_NAME)
		put_name(d.bytes, body->args[text], ret, CUT_2);
	else if (kind == SHAPE_TEXT_DATA)
		put_data(d.bytes, body->args[text], body->args[text + 1], ret);
	body->text_len = text_end(d.bytes) - start;
	draft_send(&d);
	return 0;
}
