//! Bytes of local files that are in memory already.
//!
//! A store hands each read to a thread that may wait for the disk. To wake it, and the query again, takes longer than to
//! copy a few hundred KiB, and a query reads several times of each row group: bloom filters, the columns of its
//! conditions, what it asks for. What the page cache holds is copied at once instead; the kernel says where it does not.

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::path::PathBuf;

/// Bytes of one read, at most: longer ones are worth a thread, and would hold up who shares this one.
const BYTES_MAX: u64 = 1 << 20;

/// A file of this machine, opened when it is read for the first time.
#[derive(Debug)]
pub(crate) struct AtHand {
    path: PathBuf,
    file: Option<File>,
}

impl AtHand {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// The bytes of `ranges`; none where one is not in memory, or is not in the file: the store says what is wrong.
    pub(crate) fn read(&mut self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let lengths = ranges.iter().map(|range| range.end.checked_sub(range.start));
        let bytes = lengths.reduce(|all, length| all?.checked_add(length?)).flatten()?;
        if bytes > BYTES_MAX {
            return None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path).ok()?),
        };
        ranges.iter().map(|range| read(file, range)).collect()
    }
}

fn read(file: &File, range: &Range<u64>) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
    let count = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], range.start, ReadWriteFlags::NOWAIT).ok()?;
    (count == bytes.len()).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "a range is what is read")]
    #[expect(clippy::reversed_empty_ranges, reason = "what no reader asks for")]
    fn what_is_read_is_what_the_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let content: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let mut at_hand = AtHand::new(path.clone());
        // A file system may have no such reads.
        let is_known = preadv2(File::open(&path).unwrap(), &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT);
        let expected = |ranges: &[Range<u64>]| -> Vec<Bytes> {
            let part = |range: &Range<u64>| Bytes::copy_from_slice(&content[range.start as usize..range.end as usize]);
            ranges.iter().map(part).collect()
        };
        for ranges in [vec![0..3], vec![1_999_999..2_000_000, 7..100_007], vec![5..5]] {
            assert_eq!(at_hand.read(&ranges), is_known.is_ok().then(|| expected(&ranges)), "{ranges:?}");
        }
        for ranges in [vec![0..BYTES_MAX + 1], vec![0..3, 1_999_999..2_000_001], vec![3..0], vec![], vec![0..u64::MAX]]
        {
            assert_eq!(at_hand.read(&ranges), None, "{ranges:?}");
        }
        assert_eq!(AtHand::new(folder.path().join("other")).read(&[0..1]), None);
    }
}
