//! Counts of system calls by process, as the programs keep them.

use aya::maps::{MapData, PerCpuHashMap};
use bodkin_ebpf::layout::{CALL_KEY_COMPAT, CallCount, CallKey, CallTimes, TIMES_BUCKETS};
use bodkin_ebpf::syscall::Abi;

/// Keys of the maps: calls by process that are counted at a time; the rest is not counted. 26 bytes and 24 more for
/// each processor, 104 more with times.
pub(super) const KEYS_MAX: u32 = 16 * 1024;

/// Counts of one call of one process since the process was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReading {
    /// Process id.
    pub tgid: u32,
    /// The call.
    pub name: &'static str,
    /// Calls.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Nanoseconds in all calls that were timed.
    pub ns: u64,
    /// Calls by time, where they are timed; see [`bodkin_ebpf::layout::CallTimes`].
    pub times: Option<[u64; TIMES_BUCKETS]>,
    pub(super) key: CallKey,
}

#[cfg(test)]
impl CallReading {
    pub(crate) fn for_test(tgid: u32, name: &'static str, calls: u64, times: Option<[u64; TIMES_BUCKETS]>) -> Self {
        Self { tgid, name, calls, errors: 0, ns: 0, times, key: [tgid, 0] }
    }
}

/// The maps.
pub(super) struct Calls {
    pub(super) counts: PerCpuHashMap<MapData, CallKey, CallCount>,
    pub(super) times: Option<PerCpuHashMap<MapData, CallKey, CallTimes>>,
}

impl Calls {
    /// All counts. Costs two system calls a key. A key that cannot be read is left out until the next time.
    pub(super) fn read(&self) -> Vec<CallReading> {
        let readings = self.counts.iter().filter_map(Result::ok).filter_map(|(key, values)| {
            let mut sum: CallCount = [0; 3];
            for value in values.iter() {
                sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += value);
            }
            let [calls, errors, ns] = sum;
            Some(CallReading { tgid: key[0], name: name(key)?, calls, errors, ns, times: self.times(key), key })
        });
        readings.collect()
    }

    /// Forgets keys, of processes that are gone.
    pub(super) fn forget(&mut self, keys: impl Iterator<Item = CallKey>) {
        for key in keys {
            // It may be gone already.
            let _ = self.counts.remove(&key);
            if let Some(times) = &mut self.times {
                let _ = times.remove(&key);
            }
        }
    }

    fn times(&self, key: CallKey) -> Option<[u64; TIMES_BUCKETS]> {
        let values = self.times.as_ref()?.get(&key, 0).ok()?;
        let mut sum = [0; TIMES_BUCKETS];
        for value in values.iter() {
            sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += u64::from(*value));
        }
        Some(sum)
    }
}

fn name(key: CallKey) -> Option<&'static str> {
    let (number, abi) = match key[1] & CALL_KEY_COMPAT {
        0 => (key[1], Some(Abi::NATIVE)),
        _ => (key[1] & !CALL_KEY_COMPAT, Abi::COMPAT),
    };
    abi?.name(usize::try_from(number).ok()?)
}
