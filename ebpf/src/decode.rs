//! From the bytes of a ring record to an [`Event`]: no allocation, no panic, whatever the bytes are.

use core::mem::{offset_of, size_of};

use crate::call;
use crate::event::{
    Body, Components, Descriptor, Event, ExeFile, Exec, Exit, Flow, Fork, Head, Identity, Name, Open, Paths, Socket,
};
use crate::layout::{
    Capabilities, DescriptorBody, ExecBody, ExitBody, FlowBody, ForkBody, IdentityBody, Ids, MoveBody, OpenBody,
    PathsBody, PlainBody, SocketBody, call_of, family, family_of, part,
};
use crate::syscall::Abi;

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its fixed part does, or before its own `len`.
    #[error("event of {have} bytes where {need} are needed")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The kind is not one that this version knows.
    #[error("unknown event kind {kind:#06x}")]
    Kind {
        /// The kind.
        kind: u16,
    },
    /// The number of arguments is not that of the kind.
    #[error("event kind {kind:#06x} with {nargs} arguments")]
    Arguments {
        /// The kind.
        kind: u16,
        /// The number found.
        nargs: u8,
    },
    /// A text does not fit the event or is not ended by NUL.
    #[error("event kind {kind:#06x} with a broken text")]
    Text {
        /// The kind.
        kind: u16,
    },
}

/// Decodes one record.
///
/// # Errors
/// The record is not a whole event of a known kind.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let fixed: &[u8; size_of::<Head>()] = first(bytes)?;
    let head = head(fixed);
    let len = usize::from(head.len);
    let bytes = bytes.get(..len).ok_or(DecodeError::Short { have: bytes.len(), need: len })?;
    let rest = bytes.get(fixed.len()..).ok_or(DecodeError::Short { have: len, need: fixed.len() })?;
    let kind = head.kind;
    let name = name(kind).ok_or(DecodeError::Kind { kind })?;
    let body = match family_of(kind) {
        family::EXEC => exec(&head, rest)?,
        family::FORK => fork(&head, rest)?,
        family::EXIT => {
            let (at, _) = body::<{ size_of::<ExitBody>() }>(&head, rest)?;
            let reaper = u32_at(at, offset_of!(ExitBody, reaper));
            match call_of(kind) {
                call::REPARENT => Body::Reparent(reaper),
                _ => Body::Exit(Exit { reaper, keeps_children: u32_at(at, offset_of!(ExitBody, keeps_children)) != 0 }),
            }
        }
        family::OPEN => open(&head, rest)?,
        family::PATHS => paths(&head, rest)?,
        family::SOCKET => {
            let (at, mut texts) = body::<{ size_of::<SocketBody>() }>(&head, rest)?;
            let mut socket = socket(at);
            let path = texts.take(u16_at(at, offset_of!(SocketBody, path_len)))?;
            // A path ends at its NUL, an abstract name (which begins with one) where its length says.
            socket.unix_path = if path.first() == Some(&0) { path } else { until_nul(path) };
            socket.data = texts.take(u16_at(at, offset_of!(SocketBody, data_len)))?;
            Body::Socket(socket)
        }
        family::DESCRIPTOR => descriptor(&head, rest)?,
        family::IDENTITY => identity(&head, rest)?,
        family::PLAIN => {
            let (at, _) = body::<{ size_of::<PlainBody>() }>(&head, rest)?;
            Body::Plain(args_at(at, offset_of!(PlainBody, args)))
        }
        family::MOVE => {
            let (at, mut texts) = body::<{ size_of::<MoveBody>() }>(&head, rest)?;
            let parts = u16_at(at, offset_of!(MoveBody, parts));
            Body::Move(texts.components(u16_at(at, offset_of!(MoveBody, cgroup_len)), parts & part::CUT_4)?)
        }
        family::FLOW => {
            let (at, _) = body::<{ size_of::<FlowBody>() }>(&head, rest)?;
            Body::Flow(flow(at))
        }
        _ => return Err(DecodeError::Kind { kind }),
    };
    Ok(Event { head, name, body })
}

/// The flows that an iterator wrote, one body after the other; what is left over at the end is none.
pub fn flows(bytes: &[u8]) -> impl Iterator<Item = Flow> {
    bytes.chunks_exact(FLOW_BYTES).filter_map(|chunk| chunk.first_chunk().map(flow))
}

/// Bytes of one flow as an iterator, or a map, has it.
pub const FLOW_BYTES: usize = size_of::<FlowBody>();

/// Time of an event of which only the head is looked at; None if the record is shorter.
pub fn boot_ns(bytes: &[u8]) -> Option<u64> {
    first::<{ size_of::<Head>() }>(bytes).ok().map(|fixed| u64_at(fixed, offset_of!(Head, boot_ns)))
}

/// The name of a kind whose family and call belong together. An exec among the paths is one that failed.
fn name(kind: u16) -> Option<&'static str> {
    let (number, family) = (call_of(kind), family_of(kind));
    if number < call::NATIVE_BASE {
        let known = call::ALL.get(usize::from(number))?;
        let fits = known.family == family || (known.family == family::EXEC && family == family::PATHS);
        return (fits && !known.name.is_empty()).then_some(known.name);
    }
    let (abi, base) = match number < call::COMPAT_BASE {
        true => (Some(Abi::NATIVE), call::NATIVE_BASE),
        false => (Abi::COMPAT, call::COMPAT_BASE),
    };
    (family == family::PLAIN).then_some(())?;
    abi?.name(usize::from(number - base))
}

fn head(at: &[u8; size_of::<Head>()]) -> Head {
    Head {
        boot_ns: u64_at(at, offset_of!(Head, boot_ns)),
        seq: u64_at(at, offset_of!(Head, seq)),
        tid: u32_at(at, offset_of!(Head, tid)),
        tgid: u32_at(at, offset_of!(Head, tgid)),
        cgroup_id: u64_at(at, offset_of!(Head, cgroup_id)),
        ret: i64::from_ne_bytes(array_at(at, offset_of!(Head, ret))),
        kind: u16_at(at, offset_of!(Head, kind)),
        len: u16_at(at, offset_of!(Head, len)),
        cpu: u16_at(at, offset_of!(Head, cpu)),
        flags: array_at::<_, 1>(at, offset_of!(Head, flags))[0],
        nargs: array_at::<_, 1>(at, offset_of!(Head, nargs))[0],
        uid: u32_at(at, offset_of!(Head, uid)),
        pad: u32_at(at, offset_of!(Head, pad)),
        gid: u32_at(at, offset_of!(Head, gid)),
        ppid: u32_at(at, offset_of!(Head, ppid)),
    }
}

fn exec<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, mut texts) = body::<{ size_of::<ExecBody>() }>(head, rest)?;
    let parts = u16_at(at, offset_of!(ExecBody, parts));
    let field = |field: usize| at.get(field..field + 16).unwrap_or_default();
    Ok(Body::Exec(Exec {
        ppid: u32_at(at, offset_of!(ExecBody, ppid)),
        comm: until_nul(field(offset_of!(ExecBody, comm))),
        parent_comm: until_nul(field(offset_of!(ExecBody, parent_comm))),
        exe: texts.components(u16_at(at, offset_of!(ExecBody, exe_len)), parts & part::CUT_1)?,
        argv: texts.take(u16_at(at, offset_of!(ExecBody, argv_len)))?,
        env: texts.take(u16_at(at, offset_of!(ExecBody, env_len)))?,
        cwd: texts.components(u16_at(at, offset_of!(ExecBody, cwd_len)), parts & part::CUT_3)?,
        cgroup: texts.components(u16_at(at, offset_of!(ExecBody, cgroup_len)), parts & part::CUT_4)?,
        loginuid: u32_at(at, offset_of!(ExecBody, loginuid)),
        tty: u32_at(at, offset_of!(ExecBody, tty)),
        ids: ids_at(at, offset_of!(ExecBody, ids)),
        caps: caps_at(at, offset_of!(ExecBody, caps)),
        start_ns: u64_at(at, offset_of!(ExecBody, start_ns)),
        pidns_start_ns: u64_at(at, offset_of!(ExecBody, pidns_start_ns)),
        file: ExeFile {
            ino: u64_at(at, offset_of!(ExecBody, exe_ino)),
            ctime_ns: u64_at(at, offset_of!(ExecBody, exe_ctime_ns)),
            mtime_ns: u64_at(at, offset_of!(ExecBody, exe_mtime_ns)),
            dev: u32_at(at, offset_of!(ExecBody, exe_dev)),
            uid: u32_at(at, offset_of!(ExecBody, exe_uid)),
            gid: u32_at(at, offset_of!(ExecBody, exe_gid)),
            mode: u16_at(at, offset_of!(ExecBody, exe_mode)),
            layer: u16_at(at, offset_of!(ExecBody, exe_layer)),
        },
    }))
}

fn fork<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, mut texts) = body::<{ size_of::<ForkBody>() }>(head, rest)?;
    let comm = offset_of!(ForkBody, comm);
    let parts = u16_at(at, offset_of!(ForkBody, parts));
    Ok(Body::Fork(Fork {
        child_tgid: u32_at(at, offset_of!(ForkBody, child)),
        comm: until_nul(at.get(comm..comm + 16).unwrap_or_default()),
        clone_flags: u64_at(at, offset_of!(ForkBody, clone_flags)),
        cgroup: texts.components(u16_at(at, offset_of!(ForkBody, cgroup_len)), parts & part::CUT_4)?,
        ids: ids_at(at, offset_of!(ForkBody, ids)),
        start_ns: u64_at(at, offset_of!(ForkBody, start_ns)),
        pidns_start_ns: u64_at(at, offset_of!(ForkBody, pidns_start_ns)),
    }))
}

fn open<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, mut texts) = body::<{ size_of::<OpenBody>() }>(head, rest)?;
    let parts = u16_at(at, offset_of!(OpenBody, parts));
    let name = u16_at(at, offset_of!(OpenBody, name_len));
    let base = u16_at(at, offset_of!(OpenBody, base_len));
    Ok(Body::Open(Open {
        name: texts.name(name, base, parts & part::HAS_BASE, parts & part::CUT_2)?,
        flags: u64_at(at, offset_of!(OpenBody, flags)),
        mode: u32_at(at, offset_of!(OpenBody, mode)),
        inode_mode: u32::from(u16_at(at, offset_of!(OpenBody, inode_mode))),
        ino: u64_at(at, offset_of!(OpenBody, ino)),
        dev: u32_at(at, offset_of!(OpenBody, dev)),
        layer: u16_at(at, offset_of!(OpenBody, layer)),
    }))
}

fn paths<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, mut texts) = body::<{ size_of::<PathsBody>() }>(head, rest)?;
    let parts = u16_at(at, offset_of!(PathsBody, parts));
    let name = u16_at(at, offset_of!(PathsBody, name_len));
    let base = u16_at(at, offset_of!(PathsBody, base_len));
    let name2 = u16_at(at, offset_of!(PathsBody, name2_len));
    let base2 = u16_at(at, offset_of!(PathsBody, base2_len));
    let first = texts.name(name, base, parts & part::HAS_BASE, parts & part::CUT_2)?;
    let second = texts.name(name2, base2, parts & part::HAS_BASE2, parts & part::CUT_4)?;
    Ok(Body::Paths(Paths {
        name: first,
        name2: (parts & part::HAS_NAME2 != 0).then_some(second),
        args: args_at(at, offset_of!(PathsBody, args)),
    }))
}

/// A socket without its texts.
fn socket<'a>(at: &[u8; size_of::<SocketBody>()]) -> Socket<'a> {
    Socket {
        fd: u32_at(at, offset_of!(SocketBody, fd)) as i32,
        family: u16_at(at, offset_of!(SocketBody, family)),
        protocol: u16_at(at, offset_of!(SocketBody, protocol)),
        sock_type: u16_at(at, offset_of!(SocketBody, sock_type)),
        state: array_at::<_, 1>(at, offset_of!(SocketBody, state))[0],
        local: array_at(at, offset_of!(SocketBody, local)),
        local_port: u16_at(at, offset_of!(SocketBody, local_port)),
        remote: array_at(at, offset_of!(SocketBody, remote)),
        remote_port: u16_at(at, offset_of!(SocketBody, remote_port)),
        ino: u64_at(at, offset_of!(SocketBody, ino)),
        flags: u32_at(at, offset_of!(SocketBody, flags)),
        unix_path: &[],
        data: &[],
    }
}

fn flow(at: &[u8; FLOW_BYTES]) -> Flow {
    Flow {
        sk: u64_at(at, offset_of!(FlowBody, sk)),
        start_ns: u64_at(at, offset_of!(FlowBody, start_ns)),
        tgid: u32_at(at, offset_of!(FlowBody, tgid)),
        family: u16_at(at, offset_of!(FlowBody, family)),
        protocol: array_at::<_, 1>(at, offset_of!(FlowBody, protocol))[0],
        direction: array_at::<_, 1>(at, offset_of!(FlowBody, direction))[0],
        local: array_at(at, offset_of!(FlowBody, local)),
        local_port: u16_at(at, offset_of!(FlowBody, local_port)),
        remote: array_at(at, offset_of!(FlowBody, remote)),
        remote_port: u16_at(at, offset_of!(FlowBody, remote_port)),
        bytes_sent: u64_at(at, offset_of!(FlowBody, bytes_sent)),
        bytes_received: u64_at(at, offset_of!(FlowBody, bytes_received)),
        packets_sent: u32_at(at, offset_of!(FlowBody, packets_sent)),
        packets_received: u32_at(at, offset_of!(FlowBody, packets_received)),
        retransmits: u32_at(at, offset_of!(FlowBody, retransmits)),
        rtt_us: u32_at(at, offset_of!(FlowBody, rtt_us)),
        connect_us: u32_at(at, offset_of!(FlowBody, connect_us)),
    }
}

fn descriptor<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, mut texts) = body::<{ size_of::<DescriptorBody>() }>(head, rest)?;
    let parts = u16_at(at, offset_of!(DescriptorBody, parts));
    let socket_bytes = array_at::<_, { size_of::<SocketBody>() }>(at, offset_of!(DescriptorBody, socket));
    Ok(Body::Descriptor(Descriptor {
        args: args_at(at, offset_of!(DescriptorBody, args)),
        ino: u64_at(at, offset_of!(DescriptorBody, ino)),
        dev: u32_at(at, offset_of!(DescriptorBody, dev)),
        inode_mode: u16_at(at, offset_of!(DescriptorBody, inode_mode)),
        layer: u16_at(at, offset_of!(DescriptorBody, layer)),
        path: texts.components(u16_at(at, offset_of!(DescriptorBody, base_len)), parts & part::CUT_1)?,
        text: texts.take(u16_at(at, offset_of!(DescriptorBody, text_len)))?,
        socket: socket(&socket_bytes),
    }))
}

fn identity<'a>(head: &Head, rest: &'a [u8]) -> Result<Body<'a>, DecodeError> {
    let (at, _) = body::<{ size_of::<IdentityBody>() }>(head, rest)?;
    let comm = offset_of!(IdentityBody, comm);
    Ok(Body::Identity(Identity {
        args: args_at(at, offset_of!(IdentityBody, args)),
        ids: ids_at(at, offset_of!(IdentityBody, ids)),
        caps: caps_at(at, offset_of!(IdentityBody, caps)),
        comm: until_nul(at.get(comm..comm + 16).unwrap_or_default()),
    }))
}

/// The fixed body of `N` bytes and the texts behind it.
fn body<'a, const N: usize>(head: &Head, rest: &'a [u8]) -> Result<(&'a [u8; N], Texts<'a>), DecodeError> {
    words(head, N)?;
    let fixed = first::<N>(rest)?;
    Ok((fixed, Texts { rest: rest.get(N..).unwrap_or_default(), kind: head.kind }))
}

fn words(head: &Head, bytes: usize) -> Result<(), DecodeError> {
    if usize::from(head.nargs) * 8 == bytes {
        Ok(())
    } else {
        Err(DecodeError::Arguments { kind: head.kind, nargs: head.nargs })
    }
}

/// Texts that lie one after the other.
struct Texts<'a> {
    rest: &'a [u8],
    kind: u16,
}

impl<'a> Texts<'a> {
    fn take(&mut self, len: u16) -> Result<&'a [u8], DecodeError> {
        let (text, rest) = self.rest.split_at_checked(usize::from(len)).ok_or(DecodeError::Text { kind: self.kind })?;
        self.rest = rest;
        Ok(text)
    }

    fn components(&mut self, len: u16, cut: u16) -> Result<Components<'a>, DecodeError> {
        let bytes = self.take(len)?;
        if bytes.last().is_some_and(|last| *last != 0) {
            return Err(DecodeError::Text { kind: self.kind });
        }
        Ok(Components { bytes, truncated: cut != 0 })
    }

    fn name(&mut self, len: u16, base: u16, has_base: u16, cut: u16) -> Result<Name<'a>, DecodeError> {
        let raw = self.take(len)?;
        let base = self.components(base, cut)?;
        Ok(Name { raw, base: (has_base != 0).then_some(base) })
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn first<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], DecodeError> {
    bytes.first_chunk::<N>().ok_or(DecodeError::Short { have: bytes.len(), need: N })
}

/// `W` bytes at a field's offset. All offsets are constants of the layout, so that the check is gone after inlining.
#[inline(always)]
fn array_at<const N: usize, const W: usize>(bytes: &[u8; N], at: usize) -> [u8; W] {
    debug_assert!(at + W <= N, "a field lies inside its structure");
    bytes.get(at..).and_then(|rest| rest.first_chunk::<W>()).copied().unwrap_or([0; W])
}

#[inline(always)]
fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes(array_at(bytes, at))
}

#[inline(always)]
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes(array_at(bytes, at))
}

#[inline(always)]
fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from_ne_bytes(array_at(bytes, at))
}

fn args_at<const N: usize>(bytes: &[u8; N], at: usize) -> [u64; 6] {
    core::array::from_fn(|index| u64_at(bytes, at + index * 8))
}

fn ids_at<const N: usize>(bytes: &[u8; N], at: usize) -> Ids {
    Ids {
        pgid: u32_at(bytes, at + offset_of!(Ids, pgid)),
        sid: u32_at(bytes, at + offset_of!(Ids, sid)),
        vpid: u32_at(bytes, at + offset_of!(Ids, vpid)),
        vpgid: u32_at(bytes, at + offset_of!(Ids, vpgid)),
    }
}

fn caps_at<const N: usize>(bytes: &[u8; N], at: usize) -> Capabilities {
    Capabilities {
        permitted: u64_at(bytes, at + offset_of!(Capabilities, permitted)),
        effective: u64_at(bytes, at + offset_of!(Capabilities, effective)),
        inheritable: u64_at(bytes, at + offset_of!(Capabilities, inheritable)),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
