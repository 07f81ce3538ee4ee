//! Runs code that may panic on foreign bytes, without letting the panic out or onto standard error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `decode`; a panic becomes its message. Everything that `decode` touched is dropped by the caller on `Err`.
pub(super) fn fenced<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A hostile sender must not be able to fill the log of the process with backtraces.
            if !FENCED.try_with(Cell::get).unwrap_or(false) {
                previous(info);
            }
        }));
    });
    FENCED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    FENCED.set(false);
    outcome.map_err(|payload| panic_message(payload.as_ref()))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    text.unwrap_or("decoder panicked").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(fenced(|| 1), Ok(1));
        assert_eq!(fenced(|| -> () { panic!("column {}", 3) }), Err("column 3".to_owned()));
        assert!(!FENCED.get());
    }
}
