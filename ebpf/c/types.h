// The parts of kernel structures that the programs read. Offsets are those of the running kernel: clang records each
// access (CO-RE) and the loader rewrites it. A suffix after ___ names an older or newer shape of the same structure.
#pragma once

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

// Of linux/bpf.h, whose include path differs between distributions.
enum bpf_map_kind {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
#define BPF_F_NO_PREALLOC 1
#define BPF_LOCAL_STORAGE_GET_F_CREATE 1
#define BPF_NOEXIST 1
#define BPF_RB_NO_WAKEUP 1
#define BPF_RB_FORCE_WAKEUP 2
#define BPF_RB_AVAIL_DATA 0

// Of uapi headers.
#define AT_FDCWD -100
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define O_ACCMODE 3
#define O_CREAT 0100
#define O_WRONLY 1
#define O_TRUNC 01000
#define S_IFIFO 0010000
#define OVERLAYFS_MAGIC 0x794c7630
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define PR_SET_NAME 15
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_TYPE_MASK 0xf
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define EINPROGRESS 115
#define SIGNAL_GROUP_EXIT 4
#define EEXIST 17
#define SIGCHLD 17
#define SIG_IGN ((void *)1)
#define CLD_EXITED 1
#define CLD_DUMPED 3
#define ENAMETOOLONG 36

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10, r9, r8, bp, bx, cx, dx, si, di, orig_ax;
};
struct thread_info {
	u32 status;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
struct thread_info {
	unsigned long flags;
};
#else
#error "the programs know the registers of x86 and arm64"
#endif

typedef struct {
	s32 counter;
} atomic_t;

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	u32 val;
} kgid_t;

typedef struct {
	u64 bits; // never named: 5.x has an array of two u32
} kernel_cap_t;

struct qstr {
	u32 len;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct super_block {
	u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	s64 i_ctime_sec, i_mtime_sec; // since 6.11
	u32 i_ctime_nsec, i_mtime_nsec;
};

struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

struct inode___67 {
	struct timespec64 __i_ctime, __i_mtime;
};

struct inode___66 {
	struct timespec64 __i_ctime, i_mtime;
};

struct inode___old {
	struct timespec64 i_ctime, i_mtime;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective;
};

struct task_struct;

struct pid_namespace {
	struct task_struct *child_reaper;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct tty_driver {
	int major;
	int minor_start;
};

struct tty_struct {
	struct tty_driver *driver;
	int index;
};

struct list_head {
	struct list_head *next;
};

struct sigaction {
	void *sa_handler;
};

struct k_sigaction {
	struct sigaction sa;
};

struct sighand_struct {
	struct k_sigaction action[64];
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
	unsigned int is_child_subreaper : 1;
	unsigned int has_child_subreaper : 1;
	struct pid *pids[4]; // process, thread group, process group, session
	struct tty_struct *tty;
};

struct kernfs_node {
	const char *name;
	struct kernfs_node *__parent; // since 6.15
	u64 id;
};

struct kernfs_node___old {
	struct kernfs_node *parent;
};

struct cgroup_root;

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[4]; // as many as the kernel has; the index is relocated
	struct cgroup *dfl_cgrp;
};

struct linux_binprm {
	const char *fdpath; // set where a name is relative to a descriptor, since 5.9
};

struct task_struct {
	struct thread_info thread_info;
	s32 pid;
	s32 tgid;
	unsigned int flags;
	int exit_code;
	u64 start_boottime;
	int exit_signal;
	struct task_struct *real_parent;
	struct task_struct *parent; // its tracer, where it has one
	struct list_head children;
	struct list_head sibling;
	struct task_struct *group_leader;
	struct sighand_struct *sighand;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct signal_struct *signal;
	const struct cred *cred;
	struct css_set *cgroups;
	kuid_t loginuid; // where the kernel audits
	char comm[16];
};

struct in6_addr {
	u8 bytes[16];
};

struct sock_common {
	unsigned long skc_flags;
	u16 skc_family;
	volatile unsigned char skc_state;
	u16 skc_num;
	u16 skc_dport;
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	u16 sk_type;
	u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct inet_sock {
	u16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	u64 bytes_sent, bytes_retrans, bytes_received, tcp_mstamp;
	u32 segs_out, segs_in, total_retrans, srtt_us, retrans_stamp;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

struct sockaddr_un {
	u16 sun_family;
};

struct unix_address {
	int len;
	struct sockaddr_un name[];
};

struct unix_sock {
	struct unix_address *addr;
};

struct kernel_siginfo {
	int si_signo;
	int si_code;
};

#pragma clang attribute pop

// Values differ from kernel to kernel: relocated.
enum cgroup_subsys_id { pids_cgrp_id = 1 };
enum sock_flags { SOCK_DONE = 1 };
enum bpf_func_id { BPF_FUNC_task_pt_regs = 175 };

// Of uapi headers, read from user memory: plain layouts.
struct sockaddr_any {
	u16 family;
	u16 port;
	u8 bytes[124];
};

struct open_how {
	u64 flags;
	u64 mode;
	u64 resolve;
};

struct user_msghdr {
	u64 name;
	u32 name_len;
	u32 pad;
	u64 iov;
	u64 iov_len;
};

struct compat_msghdr {
	u32 name;
	u32 name_len;
	u32 iov;
	u32 iov_len;
};
