// Bytes that the kernel programs and user space share. The mirror is src/layout.rs (the head: src/event.rs); the build
// compares the two field by field.
#pragma once

enum family {
	FAMILY_EXEC = 1,
	FAMILY_FORK,
	FAMILY_EXIT,
	FAMILY_OPEN,
	FAMILY_PATHS,
	FAMILY_SOCKET,
	FAMILY_DESCRIPTOR,
	FAMILY_IDENTITY,
	FAMILY_PLAIN,
	FAMILY_MOVE,
	FAMILY_FLOW,
	FAMILY_COUNT
};

// Calls that the programs tell apart; all others are known to user space alone.
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
	CALL_CONNECT,
	CALL_ACCEPT,
	CALL_ACCEPT4,
	CALL_BIND,
	CALL_SENDTO,
	CALL_SENDMSG,
	CALL_RECVFROM,
	CALL_RECVMSG,
	CALL_CHDIR,
	CALL_PRCTL,
	CALL_SIGNALDELIVER,
	CALL_OOMKILL,
	CALL_CGROUP_MOVE,
	CALL_FLOW,
	CALL_SOCKET,
	CALL_REPARENT,
	CALL_SOCKETCALL = 255, // i386: replaced by the call that the first argument names
};

#define KIND(family, call) ((family) << 11 | (call))
#define KIND_FAMILY(kind) ((kind) >> 11 & 0xf)
#define KIND_CALL(kind) ((kind)&0x7ff)
#define WANTED 0x8000

// A shape says where a known call has what. Numbers of arguments have three bits; 7 is none.
//   paths:      name | its folder << 3 | second name << 6 | its folder << 9
//   descriptor: descriptor (6 is the result) | text << 3 | kind of text << 6
// All: bit 13 for the ring of process life, bits 14 and 15 for how early it is shed.
#define SHAPES 256
#define SHAPE_NONE 7
#define SHAPE_RESULT 6
#define SHAPE_TEXT_NAME 1
#define SHAPE_TEXT_DATA 2
#define SHAPE_LIFE (1 << 13)
#define SHAPE_SHED_SECOND (2 << 14)
#define SHED_LEVELS 4

// Bits of settings.options.
#define OPTION_STREAMS 1  // sends and receives on connected streams, too
#define OPTION_PRCTL 2    // every prctl, not only those that change a state
#define OPTION_SIGNALS 4
#define OPTION_LATENCY 8  // calls are timed
#define OPTION_FLOWS 16   // connections are told with their owners
#define OPTION_PREFIXES 32 // files under some folders are not told
#define OPTION_REPARENT 64 // whose the children of an ending process become is told

// Bits of settings.policies: which maps have entries.
#define POLICY_PROCESSES 1
#define POLICY_CGROUPS 2
#define CGROUPS_MAX 4096

// Counts of system calls.
#define TIMES_BUCKETS 26
#define TIMES_FIRST_BITS 8
#define CALL_KEY_COMPAT (1u << 31)

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

#define ENV_MAX_BYTES 4096
#define DATA_MAX_BYTES 80
#define PREFIX_MAX_BYTES 128

// Bits of layer.
#define LAYER_UPPER 1
#define LAYER_LOWER 2
#define LAYER_MEMFD 4

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
	u32 gid;
	u32 ppid;
};

// Process group and session, and ids as the process itself sees them.
struct ids {
	u32 pgid;
	u32 sid;
	u32 vpid;
	u32 vpgid;
};

struct capabilities {
	u64 permitted;
	u64 effective;
	u64 inheritable;
};

struct exec_body {
	u32 ppid;
	u32 loginuid;
	u32 tty;
	u16 parts;
	u16 exe_len;
	u16 argv_len;
	u16 env_len;
	u16 cwd_len;
	u16 cgroup_len;
	char comm[16];
	char parent_comm[16];
	struct ids ids;
	struct capabilities caps;
	u64 start_ns;
	u64 pidns_start_ns;
	u64 exe_ino;
	u64 exe_ctime_ns;
	u64 exe_mtime_ns;
	u32 exe_dev;
	u32 exe_uid;
	u32 exe_gid;
	u16 exe_mode;
	u16 exe_layer;
};

struct fork_body {
	u64 clone_flags;
	u32 child;
	u16 parts;
	u16 cgroup_len;
	char comm[16];
	struct ids ids;
	u64 start_ns;
	u64 pidns_start_ns;
};

struct exit_body {
	u32 reaper;
	u32 keeps_children;
};

struct open_body {
	u64 flags;
	u32 mode;
	u32 dev;
	u64 ino;
	u16 inode_mode;
	u16 layer;
	u16 parts;
	u16 name_len;
	u16 base_len;
	u16 pad[3];
};

struct paths_body {
	u64 args[6];
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
	u64 ino;
	u32 flags;
	u16 sock_type;
	u16 data_len;
	u8 state;
	u8 pad[7];
};

struct descriptor_body {
	u64 args[6];
	u64 ino;
	u32 dev;
	u16 inode_mode;
	u16 layer;
	u16 base_len;
	u16 text_len;
	u16 parts;
	u16 pad;
	struct socket_body socket;
};

struct identity_body {
	u64 args[6];
	struct ids ids;
	struct capabilities caps;
	char comm[16];
};

struct plain_body {
	u64 args[6];
};

struct move_body {
	u16 parts;
	u16 cgroup_len;
	u32 pad;
};

// A connection, or the datagrams of one process on one socket, so far.
struct flow_body {
	u64 sk;       // names the socket while it lives
	u64 start_ns; // 0 if it was there before
	u64 bytes_sent;
	u64 bytes_received;
	u32 packets_sent;
	u32 packets_received;
	u32 retransmits;
	u32 rtt_us;
	u32 connect_us;
	u32 tgid; // 0 if it is not known whose it is
	u8 local[16];
	u8 remote[16];
	u16 local_port;
	u16 remote_port;
	u16 family;
	u8 protocol;
	u8 direction;
};

#define FLOW_OUT 1
#define FLOW_IN 2

struct call_key {
	u32 tgid;
	u32 call;
};

struct call_count {
	u64 calls;
	u64 errors;
	u64 ns;
};

struct call_times {
	u32 bucket[TIMES_BUCKETS];
};

struct settings {
	u32 calls[CALLS];
	u16 socketcalls[SOCKETCALLS];
	u16 shapes[SHAPES];
	u32 own_tgid;
	u32 policies;
	u32 events_wake_at;
	u32 life_wake_at;
	u32 events_shed_at[SHED_LEVELS];
	u32 options;
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
