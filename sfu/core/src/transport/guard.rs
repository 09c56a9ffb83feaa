//! Keeps a panic inside a foreign parser from taking more than one association with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The library panicked: the value it worked on is not to be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Runs a call into a library that reads network input. We know of no input that makes it panic, and fuzz for one; but
/// a server of a thousand sessions must not rest on that. The caller drops the library's value on [`Panicked`].
pub(super) fn guard<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}
