// Bytes that the kernel programs and user space share. The mirror is src/layout.rs (the head: src/event.rs); the build
// compares the two field by field.
#pragma once

enum family { FAMILY_EXEC = 1, FAMILY_FORK, FAMILY_EXIT, FAMILY_OPEN, FAMILY_PATHS, FAMILY_SOCKET, FAMILY_COUNT };

enum call_id {
	CALL_EXECVE = 1,
	CALL_EXECVEAT,
	CALL_FORK,
	CALL_VFORK,
	CALL_CLONE,
	CALL_CLONE3,
	CALL_PROCEXIT,
	CALL_OPEN,
	CALL_OPENAT,
	CALL_OPENAT2,
	CALL_CREAT,
	CALL_UNLINK,
	CALL_UNLINKAT,
	CALL_RENAME,
	CALL_RENAMEAT,
	CALL_RENAMEAT2,
	CALL_CONNECT,
	CALL_ACCEPT,
	CALL_ACCEPT4,
	CALL_SOCKETCALL = 255, // i386: replaced by the call that the first argument names
};

#define KIND(family, call) ((family) << 8 | (call))
#define KIND_FAMILY(kind) ((kind) >> 8 & 0x7f)
#define KIND_CALL(kind) ((kind)&0xff)
#define WANTED 0x8000

#define FLAG_TRUNCATED 1
#define FLAG_COMPAT 2

#define CUT_1 1
#define CUT_2 2
#define CUT_3 4
#define CUT_4 8
#define HAS_BASE 16
#define HAS_NAME2 32
#define HAS_BASE2 64

#define CALLS 512
#define SOCKETCALLS 32
#define NAME_MAX_BYTES 4096
#define ARGV_MAX_BYTES 8192
#define EVENT_MAX_BYTES (28 * 1024)

struct head {
	u64 boot_ns;
	u64 seq;
	u32 tid;
	u32 tgid;
	u64 cgroup_id;
	s64 ret;
	u16 kind;
	u16 len;
	u16 cpu;
	u8 flags;
	u8 nargs;
	u32 uid;
	u32 pad;
	u64 spare;
};

struct exec_body {
	u32 ppid;
	u32 loginuid;
	u32 tty;
	u16 parts;
	u16 exe_len;
	u16 argv_len;
	u16 cwd_len;
	u16 cgroup_len;
	u16 pad;
	char comm[16];
	char parent_comm[16];
};

struct fork_body {
	u64 clone_flags;
	u32 child;
	u16 parts;
	u16 cgroup_len;
	char comm[16];
};

struct open_body {
	u64 flags;
	u32 mode;
	u32 inode_mode;
	u16 parts;
	u16 name_len;
	u16 base_len;
	u16 pad;
};

struct paths_body {
	u64 flags;
	u16 parts;
	u16 name_len;
	u16 base_len;
	u16 name2_len;
	u16 base2_len;
	u16 pad[3];
};

struct socket_body {
	s32 fd;
	u16 family;
	u16 protocol;
	u16 local_port;
	u16 remote_port;
	u16 parts;
	u16 path_len;
	u8 local[16];
	u8 remote[16];
};

struct settings {
	u32 calls[CALLS];
	u16 socketcalls[SOCKETCALLS];
	u32 own_tgid;
	u32 policies;
	u32 events_wake_at;
	u32 events_shed_at;
	u32 life_wake_at;
	u32 pad;
};

struct class_stats {
	u64 offered;
	u64 sent;
	u64 full;
	u64 shed;
	u64 policy;
	u64 truncated;
};

struct cpu_stats {
	u64 seq;
	u64 woken;
	u64 waiting;
	struct class_stats class[FAMILY_COUNT];
};
