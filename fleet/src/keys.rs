//! What makes a secret good enough to be an API key. The operator refuses a Secret by it, and SFUs the files made of it.

/// Bytes a key's secret has at least. A shorter one could be guessed from a single token, without asking anybody.
pub const MIN_SECRET_BYTES: usize = 16;

/// The secret in a key's entry or file: text without the white space at its end, which editors leave there.
///
/// `None` if it is no text, or shorter than [`MIN_SECRET_BYTES`].
pub fn secret_in(content: &[u8]) -> Option<&str> {
    let secret = std::str::from_utf8(content).ok()?.trim_end();
    (secret.len() >= MIN_SECRET_BYTES).then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_text_of_sixteen_bytes_without_what_editors_add() {
        for (content, secret) in [
            (&b"0123456789abcdef"[..], Some("0123456789abcdef")),
            (b"0123456789abcdef\n", Some("0123456789abcdef")),
            (b"0123456789abcde\n", None),
            (b"0123456789abcde                ", None),
            (b"", None),
            (b"0123456789abcdef\xff", None),
        ] {
            assert_eq!(secret_in(content), secret, "{content:?}");
        }
    }
}
