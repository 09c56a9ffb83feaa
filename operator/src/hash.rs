//! Short hashes of values, for names and comparisons.

use aws_lc_rs::digest;
use serde::Serialize;

/// Ten hexadecimal digits over the value's JSON: enough to tell revisions of one object apart, fit for names and labels.
///
/// # Errors
/// If the value has no JSON form.
pub fn short_hash(value: &impl Serialize) -> Result<String, serde_json::Error> {
    // By way of `Value`, which sorts the keys.
    let text = serde_json::to_string(&serde_json::to_value(value)?)?;
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let number = digest.as_ref().iter().take(5).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok(format!("{number:010x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_content_and_not_on_order() {
        let one = serde_json::json!({"a": 1, "b": 2});
        let same = serde_json::json!({"b": 2, "a": 1});
        assert_eq!(short_hash(&one).unwrap(), short_hash(&same).unwrap());
        assert_ne!(short_hash(&one).unwrap(), short_hash(&serde_json::json!({"a": 1})).unwrap());
        assert_eq!(short_hash(&one).unwrap().len(), 10);
    }
}
