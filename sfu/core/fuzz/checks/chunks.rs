//! Many short inputs in one: what is fuzzed remembers what came before.

/// The pieces of an input, each behind a byte that says how long it is. The last may be cut short.
pub fn chunks(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first()?;
        let (chunk, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        input = rest;
        Some(chunk)
    })
}
