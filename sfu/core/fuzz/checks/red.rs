//! What must hold of any bytes that are taken for redundant audio: the primary encoding is the end of them, and it is
//! found behind whatever redundancy is put before it.

use sfu_core::media::red::primary;

const PRIMARY: u8 = 111;

pub fn check(payload: &[u8]) {
    if let Some((payload_type, data)) = primary(payload) {
        assert!(payload_type < 0x80 && data.len() < payload.len() && payload.ends_with(data));
        let cut = &payload[..payload.len() - data.len()];
        assert_eq!(primary(cut), Some((payload_type, &[][..])), "what is before it tells where it begins");
    }
    // The same bytes as a block before a primary one, with 10 bits for the length.
    let length = payload.len().min(0x3ff) as u16;
    let mut wrapped = vec![0x80 | 0x64, 0x03, (length >> 8) as u8, length as u8, PRIMARY];
    wrapped.extend_from_slice(&payload[..usize::from(length)]);
    wrapped.extend_from_slice(b"voice");
    assert_eq!(primary(&wrapped), Some((PRIMARY, &b"voice"[..])));
}
