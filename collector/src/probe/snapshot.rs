//! Every process that was there before the programs, read by an iterator in the form of the exec that started it.

use super::{ProbeError, iterators};
use aya::Ebpf;
use bodkin_ebpf::layout::EVENT_MAX_BYTES;
use bodkin_ebpf::{Event, decode};
use std::io::Read;

/// The iterator and what it goes over.
pub(super) const ITERATOR: (&str, &str) = ("each_process", "task");

/// Bytes of one reading: the kernel gives whole processes as long as there is room for one.
const CHUNK_BYTES: usize = 64 << 10;

/// Gives each process; the number of them. Costs some microseconds each.
pub(super) fn read(ebpf: &mut Ebpf, on_process: &mut dyn FnMut(&Event<'_>)) -> Result<u64, ProbeError> {
    let mut file = iterators::open(ebpf, ITERATOR.0)?;
    let mut bytes = vec![0; CHUNK_BYTES + EVENT_MAX_BYTES];
    let (mut used, mut count) = (0, 0);
    loop {
        let room = bytes.get_mut(used..).unwrap_or_default();
        let read = file.read(room).map_err(ProbeError::Read)?;
        if read == 0 {
            break;
        }
        used += read;
        let whole = give(bytes.get(..used).unwrap_or_default(), &mut count, on_process);
        bytes.copy_within(whole..used, 0);
        used -= whole;
    }
    match used {
        0 => Ok(count),
        left => Err(ProbeError::Setup { what: format!("read processes: {left} bytes at the end are none") }),
    }
}

/// Gives what is whole at the beginning of `bytes`; its length.
fn give(bytes: &[u8], count: &mut u64, on_process: &mut dyn FnMut(&Event<'_>)) -> usize {
    let mut at = 0;
    while let Ok(event) = decode(bytes.get(at..).unwrap_or_default()) {
        on_process(&event);
        *count += 1;
        at += usize::from(event.head.len);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_ebpf::call;
    use bodkin_ebpf::layout::{family, kind};

    #[test]
    fn processes_lie_one_after_the_other_and_the_last_may_be_cut() {
        let record = |tgid: u32| {
            let mut bytes = vec![0; 72];
            bytes[20..24].copy_from_slice(&tgid.to_ne_bytes());
            bytes[40..42].copy_from_slice(&kind(family::EXIT, call::PROCEXIT).to_ne_bytes());
            bytes[42..44].copy_from_slice(&72_u16.to_ne_bytes());
            bytes[47] = 1;
            bytes
        };
        let bytes = [record(7), record(8), record(9)].concat();
        let (mut count, mut seen) = (0, Vec::new());
        assert_eq!(give(&bytes[..200], &mut count, &mut |event| seen.push(event.head.tgid)), 144);
        assert_eq!((count, seen), (2, vec![7, 8]));
        assert_eq!(give(b"", &mut count, &mut |_| {}), 0);
    }
}
