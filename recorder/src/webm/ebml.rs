//! EBML (RFC 8794): elements are an id, a size and a body.

/// Size that says "until the end, or until something that cannot be inside", in eight bytes, so that a size fits there.
pub const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

const VOID: u32 = 0xec;

/// Writes an element whose body is there already.
pub fn put(out: &mut Vec<u8>, id: u32, body: &[u8]) {
    put_id(out, id);
    put_size(out, body.len() as u64);
    out.extend_from_slice(body);
}

/// Writes an element made of elements.
pub fn put_master(out: &mut Vec<u8>, id: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    put(out, id, &body);
}

pub fn put_uint(out: &mut Vec<u8>, id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    let unused = (value.leading_zeros() as usize / 8).min(7);
    put(out, id, &bytes[unused..]);
}

pub fn put_float(out: &mut Vec<u8>, id: u32, value: f64) {
    put(out, id, &value.to_be_bytes());
}

pub fn put_text(out: &mut Vec<u8>, id: u32, text: &str) {
    put(out, id, text.as_bytes());
}

/// Writes an element that means nothing and takes `length` bytes in all, at least 2 and at most 128.
pub fn put_void(out: &mut Vec<u8>, length: usize) {
    put_id(out, VOID);
    let body = length.clamp(2, 128) - 2;
    out.push(0x80 | body as u8);
    out.resize(out.len() + body, 0);
}

/// Ids are written as they are: their first bits tell their length.
pub fn put_id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    out.extend_from_slice(&bytes[(id.leading_zeros() as usize / 8).min(3)..]);
}

/// Writes a size in as few bytes as it takes. One that has only ones in its bits would mean that it is unknown.
pub fn put_size(out: &mut Vec<u8>, size: u64) {
    let length = (1..8).find(|length| size < (1 << (7 * length)) - 1).unwrap_or(8);
    out.extend_from_slice(&size_of(size, length)[8 - length..]);
}

/// A size in eight bytes, as it stands where it was unknown before.
pub fn long_size(size: u64) -> [u8; 8] {
    size_of(size, 8)
}

const fn size_of(size: u64, length: usize) -> [u8; 8] {
    (size & ((1 << (7 * length)) - 1) | 1 << (7 * length)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn sizes_are_as_the_rfc_shows_them() {
        // RFC 8794, section 4.4, table 3.
        assert_eq!(written(|out| put_size(out, 2)), [0x82]);
        assert_eq!(written(|out| put_size(out, 126)), [0xfe]);
        assert_eq!(written(|out| put_size(out, 127)), [0x40, 0x7f], "0xff means unknown");
        assert_eq!(written(|out| put_size(out, 16_382)), [0x7f, 0xfe]);
        assert_eq!(written(|out| put_size(out, 16_383)), [0x20, 0x3f, 0xff]);
        assert_eq!(long_size(2), [1, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn elements_are_written_in_their_shortest_form() {
        assert_eq!(written(|out| put_uint(out, 0xd7, 1)), [0xd7, 0x81, 1]);
        assert_eq!(written(|out| put_uint(out, 0xd7, 0)), [0xd7, 0x81, 0]);
        assert_eq!(written(|out| put_uint(out, 0x2a_d7b1, 1_000_000)), [0x2a, 0xd7, 0xb1, 0x83, 0x0f, 0x42, 0x40]);
        assert_eq!(written(|out| put_text(out, 0x4282, "webm")), *b"\x42\x82\x84webm");
        let nested = written(|out| put_master(out, 0x1a45_dfa3, |body| put_uint(body, 0x4286, 1)));
        assert_eq!(nested, [0x1a, 0x45, 0xdf, 0xa3, 0x84, 0x42, 0x86, 0x81, 1]);
        assert_eq!(written(|out| put_void(out, 5)), [0xec, 0x83, 0, 0, 0]);
    }
}
