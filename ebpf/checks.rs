//! What clang is given to check: expressions of C, and the values that the Rust side of the layout has for them.

use crate::call;
use crate::event::Head;
use crate::layout::{self, *};
use std::mem::{offset_of, size_of};

macro_rules! fields {
    ($out:ident, $rust:ident = $c:literal { $($field:ident),+ $(,)? }) => {
        $out.push((format!("sizeof(struct {})", $c), size_of::<$rust>() as u64));
        $($out.push((
            format!("__builtin_offsetof(struct {}, {})", $c, stringify!($field)),
            offset_of!($rust, $field) as u64,
        ));)+
    };
}

/// C expressions and the values that they must have.
pub(crate) fn checks() -> Vec<(String, u64)> {
    let mut out = structures();
    for (at, name) in family::NAMES.iter().enumerate().skip(1) {
        out.push((format!("FAMILY_{}", name.to_uppercase()), at as u64));
    }
    for (at, call) in call::ALL.iter().enumerate().skip(1).take(call::IN_C) {
        out.push((format!("CALL_{}", call.name.to_uppercase()), at as u64));
    }
    for kind in [(family::MOVE, call::CGROUP_MOVE), (family::PLAIN, call::COMPAT_BASE)] {
        out.push((format!("KIND({}, {})", kind.0, kind.1), u64::from(layout::kind(kind.0, kind.1))));
    }
    let constants: [(&str, u64); 48] = [
        ("CALL_SOCKETCALL", u64::from(call::SOCKETCALL)),
        ("FAMILY_COUNT", family::COUNT as u64),
        ("FLAG_TRUNCATED", u64::from(flag::TRUNCATED)),
        ("FLAG_COMPAT", u64::from(flag::COMPAT)),
        ("CUT_1", u64::from(part::CUT_1)),
        ("CUT_2", u64::from(part::CUT_2)),
        ("CUT_3", u64::from(part::CUT_3)),
        ("CUT_4", u64::from(part::CUT_4)),
        ("HAS_BASE", u64::from(part::HAS_BASE)),
        ("HAS_NAME2", u64::from(part::HAS_NAME2)),
        ("HAS_BASE2", u64::from(part::HAS_BASE2)),
        ("LAYER_UPPER", u64::from(layer::UPPER)),
        ("LAYER_LOWER", u64::from(layer::LOWER)),
        ("LAYER_MEMFD", u64::from(layer::MEMFD)),
        ("OPTION_STREAMS", u64::from(option::STREAMS)),
        ("OPTION_PRCTL", u64::from(option::PRCTL)),
        ("OPTION_SIGNALS", u64::from(option::SIGNALS)),
        ("OPTION_LATENCY", u64::from(option::LATENCY)),
        ("OPTION_FLOWS", u64::from(option::FLOWS)),
        ("OPTION_PREFIXES", u64::from(option::PREFIXES)),
        ("OPTION_REPARENT", u64::from(option::REPARENT)),
        ("POLICY_PROCESSES", u64::from(policy::PROCESSES)),
        ("POLICY_CGROUPS", u64::from(policy::CGROUPS)),
        ("CGROUPS_MAX", CGROUPS_MAX as u64),
        ("PREFIX_MAX_BYTES", PREFIX_MAX_BYTES as u64),
        ("FLOW_OUT", u64::from(FLOW_OUT)),
        ("FLOW_IN", u64::from(FLOW_IN)),
        ("TIMES_BUCKETS", TIMES_BUCKETS as u64),
        ("TIMES_FIRST_BITS", u64::from(TIMES_FIRST_BITS)),
        ("CALL_KEY_COMPAT", u64::from(CALL_KEY_COMPAT)),
        ("sizeof(struct call_key)", size_of::<CallKey>() as u64),
        ("sizeof(struct call_count)", size_of::<CallCount>() as u64),
        ("sizeof(struct call_times)", size_of::<CallTimes>() as u64),
        ("SHAPE_NONE", u64::from(call::shape::NONE)),
        ("SHAPE_RESULT", u64::from(call::shape::RESULT)),
        ("SHAPE_TEXT_NAME", u64::from(call::shape::TEXT_NAME)),
        ("SHAPE_TEXT_DATA", u64::from(call::shape::TEXT_DATA)),
        ("SHAPE_LIFE", u64::from(call::shape::LIFE)),
        ("SHAPE_SHED_SECOND", u64::from(call::shape::SHED_SECOND)),
        ("SHAPES", SHAPES as u64),
        ("SHED_LEVELS", SHED_LEVELS as u64),
        ("WANTED", u64::from(WANTED)),
        ("CALLS", CALLS as u64),
        ("NAME_MAX_BYTES", NAME_MAX_BYTES as u64),
        ("ARGV_MAX_BYTES", ARGV_MAX_BYTES as u64),
        ("ENV_MAX_BYTES", ENV_MAX_BYTES as u64),
        ("DATA_MAX_BYTES", DATA_MAX_BYTES as u64),
        ("EVENT_MAX_BYTES", EVENT_MAX_BYTES as u64),
    ];
    out.extend(constants.map(|(name, value)| (name.to_string(), value)));
    out
}

fn structures() -> Vec<(String, u64)> {
    let mut out = Vec::new();
    fields!(out, Head = "head" {
        boot_ns, seq, tid, tgid, cgroup_id, ret, kind, len, cpu, flags, nargs, uid, pad, gid, ppid,
    });
    fields!(out, Ids = "ids" { pgid, sid, vpid, vpgid });
    fields!(out, Capabilities = "capabilities" { permitted, effective, inheritable });
    fields!(out, ExecBody = "exec_body" {
        ppid, loginuid, tty, parts, exe_len, argv_len, env_len, cwd_len, cgroup_len, comm, parent_comm, ids, caps,
        start_ns, pidns_start_ns, exe_ino, exe_ctime_ns, exe_mtime_ns, exe_dev, exe_uid, exe_gid, exe_mode, exe_layer,
    });
    fields!(out, ForkBody = "fork_body" {
        clone_flags, child, parts, cgroup_len, comm, ids, start_ns, pidns_start_ns,
    });
    fields!(out, ExitBody = "exit_body" { reaper, keeps_children });
    fields!(out, OpenBody = "open_body" {
        flags, mode, dev, ino, inode_mode, layer, parts, name_len, base_len, pad,
    });
    fields!(out, PathsBody = "paths_body" { args, parts, name_len, base_len, name2_len, base2_len, pad });
    fields!(out, SocketBody = "socket_body" {
        fd, family, protocol, local_port, remote_port, parts, path_len, local, remote, ino, flags, sock_type, data_len,
        state, pad,
    });
    fields!(out, DescriptorBody = "descriptor_body" {
        args, ino, dev, inode_mode, layer, base_len, text_len, parts, pad, socket,
    });
    fields!(out, IdentityBody = "identity_body" { args, ids, caps, comm });
    fields!(out, PlainBody = "plain_body" { args });
    fields!(out, MoveBody = "move_body" { parts, cgroup_len, pad });
    fields!(out, FlowBody = "flow_body" {
        sk, start_ns, bytes_sent, bytes_received, packets_sent, packets_received, retransmits, rtt_us, connect_us, tgid,
        local, remote, local_port, remote_port, family, protocol, direction,
    });
    fields!(out, Settings = "settings" {
        calls, socketcalls, shapes, own_tgid, policies, events_wake_at, life_wake_at, events_shed_at, options, pad,
    });
    fields!(out, ClassStats = "class_stats" { offered, sent, full, shed, policy, truncated });
    fields!(out, CpuStats = "cpu_stats" { seq, woken, waiting, class });
    out
}
