//! The threads that queries run on.
//!
//! A sort works for seconds without giving way. On the threads that take rows in, acknowledgements would wait for it; on
//! threads of their own, of less weight, the system gives the processor to whoever takes rows in as soon as there are some.

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};

/// What the system calls niceness: a third of the processor's time where others want all of it.
const NICENESS: i32 = 5;

/// A runtime for queries; they end with it.
#[derive(Debug)]
pub(super) struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    /// As many threads as cores, and those that read files for them.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("query")
            .enable_all()
            .on_thread_start(|| {
                // Of this thread alone. Where it is refused, queries are as heavy as everything else.
                if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                    tracing::debug!(%error, "threads of queries keep their weight");
                }
            })
            .build()
            .context("threads of queries")?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for QueryThreads {
    /// Does not wait: it is dropped by a task of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
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
        let threads = QueryThreads::start().unwrap();
        let handle = threads.handle().unwrap();
        let found = handle.block_on(async {
            (handle.spawn(async move { of_thread() }).await.unwrap(), handle.spawn_blocking(of_thread).await.unwrap())
        });
        assert_eq!((found, of_thread()), ((NICENESS, NICENESS), before));
    }
}
