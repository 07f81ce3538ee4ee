//! Stack for recursion over deep expressions, whatever thread it runs on.

/// Less than this left, and the stack grows.
const RED_ZONE_BYTES: usize = 128 << 10;
/// By this much.
const GROWTH_BYTES: usize = 2 << 20;

/// Calls a function with stack enough for one more level of an expression.
#[inline]
pub(crate) fn grow<T>(call: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(RED_ZONE_BYTES, GROWTH_BYTES, call)
}
