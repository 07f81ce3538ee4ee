//! Kernel programs of the agent and the layout of their events.
//!
//! The programs are C with CO-RE (one object for every kernel with BTF), compiled by clang in `build.rs` and embedded
//! as [`OBJECT`]. This crate holds the bytes, the layout and the decoder; loading and reading rings is the collector's.
//!
//! - [`event`]: what an event tells; [`decode`](mod@decode): from bytes to events, for bytes of any origin.
//! - [`call`]: which events there are, and how their arguments are read.
//! - [`layout`]: structures and constants shared with `c/layout.h`, compared by the build.
//! - [`syscall`]: numbers and names of system calls, and the tables of wanted ones.
//!
//! ```
//! let wanted = |name: &str| name == "openat";
//! let (calls, _) = bodkin_ebpf::syscall::tables(&wanted);
//! assert!(calls.iter().any(|entry| *entry != 0));
//! assert!(bodkin_ebpf::decode(b"not an event").is_err());
//! ```

pub mod call;
pub mod decode;
pub mod event;
pub mod layout;
pub mod syscall;
mod syscall_tables;

pub use decode::{DecodeError, decode};
pub use event::{Body, Event, Head};

/// Forces the alignment that an ELF reader needs.
#[repr(C, align(16))]
struct Aligned<B: ?Sized>(B);

static ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bodkin.bpf.o")));

/// The compiled programs: an ELF object with BTF.
pub static OBJECT: &[u8] = &ALIGNED.0;
