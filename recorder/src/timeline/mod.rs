//! When a packet was captured, on one clock for all people and streams.
//!
//! In: packets and sender reports, with the time they came. Out: a moment of our clock for a timestamp of a stream.
//! Two steps lead there: a stream's timestamps are moments of its sender's clock, as sender reports say (RFC 3550,
//! section 6.4.1); the sender's clock is ours but for an offset, which the reports' arrivals tell ([`SenderClock`]). All
//! streams of a person share the second step, so whatever is wrong with it, they stay together.
//! Until the first report, and when reports make no sense, the packets' own arrivals tell ([`Stream`]).

mod least;
mod sender;
mod stream;

pub use sender::{SenderClock, SenderTime};
pub use stream::Stream;

/// A moment of our clock in microseconds, signed: what is computed from other people's numbers may lie before our origin.
pub type Micros = i64;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Ticks of a clock as microseconds.
const fn micros(ticks: i64, rate: u32) -> Micros {
    let rate = rate as i64;
    // Apart, so that timestamps of years do not overflow.
    (ticks / rate).wrapping_mul(MICROS_PER_SECOND).wrapping_add(ticks % rate * MICROS_PER_SECOND / rate)
}
