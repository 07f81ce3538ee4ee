//! Waiting, as an argument: the simulator's time is not the machine's.

use futures::future::BoxFuture;
use std::fmt::Debug;
use std::time::Duration;

/// Lets time pass.
pub trait Timer: Send + Sync + Debug {
    /// Resolves after `duration`. Safe to drop.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The timer of the tokio runtime that the caller runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
