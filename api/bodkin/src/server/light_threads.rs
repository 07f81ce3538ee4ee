//! Threads that give way: queries run on some, the upkeep of tables on others.
//!
//! A sort works for seconds without giving way, and a quarter of an hour of rows takes minutes to merge. On the threads
//! that take rows in, acknowledgements would wait for it; on threads of their own, of less weight, the system gives the
//! processor to whoever takes rows in as soon as there are some.

use crate::allocator::IDLE_THREAD_STAYS;
use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// What threads are for. Its weight is what the system calls niceness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A third of the processor's time where others want all of it.
    Queries = 5,
    /// A tenth. Nobody waits for it: where rows come as fast as they can be taken in, files are merged when fewer come.
    Upkeep = 10,
}

/// A runtime; what runs on it ends with it.
#[derive(Debug)]
pub(super) struct LightThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl LightThreads {
    /// As many threads as cores, and those that read files for them.
    pub(super) fn start(purpose: Use) -> anyhow::Result<Self> {
        let name = match purpose {
            Use::Queries => "query",
            Use::Upkeep => "upkeep",
        };
        let runtime = Builder::new_multi_thread()
            .thread_name(name)
            .enable_all()
            .thread_keep_alive(IDLE_THREAD_STAYS)
            .on_thread_start(move || {
                // Of this thread alone. Where it is refused, it is as heavy as everything else.
                if let Err(error) = rustix::process::setpriority_process(None, purpose as i32) {
                    tracing::debug!(%error, name, "threads keep their weight");
                }
            })
            .build()
            .with_context(|| format!("threads for {name}"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for LightThreads {
    /// Does not wait: it is dropped by a task of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_weight_is_their_own() {
        let of_thread = || rustix::process::getpriority_process(None).unwrap();
        let before = of_thread();
        for purpose in [Use::Queries, Use::Upkeep] {
            let threads = LightThreads::start(purpose).unwrap();
            let handle = threads.handle();
            let found = handle.block_on(async {
                let work = (handle.spawn(async move { of_thread() }), handle.spawn_blocking(of_thread));
                (work.0.await.unwrap(), work.1.await.unwrap())
            });
            assert_eq!((found, of_thread()), ((purpose as i32, purpose as i32), before), "{purpose:?}");
        }
    }
}
