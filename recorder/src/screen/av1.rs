//! AV1 (<https://aomediacodec.github.io/av1-rtp-spec/>): OBUs are cut into packets without their sizes; files have them
//! with sizes (<https://aomediacodec.github.io/av1-isobmff/>, as WebM does).

use super::Picture;

/// The aggregation header: the first element goes on from the last packet (Z), the last goes on in the next one (Y), how
/// many elements there are (W), and a coded video sequence begins (N).
const GOES_ON_BEFORE: u8 = 0x80;
const GOES_ON_AFTER: u8 = 0x40;
const NEW_SEQUENCE: u8 = 0x08;

/// Bits of an OBU's header.
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;

/// Kinds of OBUs: the sequence header, which comes with keyframes; those that files leave out: the temporal delimiter,
/// which blocks make needless, and padding.
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const PADDING: u8 = 15;

pub fn starts_keyframe(payload: &[u8]) -> bool {
    payload.first().is_some_and(|header| header & (NEW_SEQUENCE | GOES_ON_BEFORE) == NEW_SEQUENCE)
}

pub fn depacketize<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Option<Picture> {
    let mut picture = Picture { keyframe: false, data: Vec::new() };
    // An OBU of which more is to come.
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        let (header, mut rest) = payload.split_first()?;
        if (header & GOES_ON_BEFORE != 0) != open.is_some() {
            return None;
        }
        let count = usize::from(header >> 4 & 3);
        let mut at = 0;
        while !rest.is_empty() {
            at += 1;
            // With W, the last element has no length: it ends with the packet.
            let length = if at == count { rest.len() } else { read_leb128(&mut rest)? };
            let (element, after) = rest.split_at_checked(length)?;
            rest = after;
            let mut obu = open.take().unwrap_or_default();
            obu.extend_from_slice(element);
            if rest.is_empty() && header & GOES_ON_AFTER != 0 {
                open = Some(obu);
            } else {
                put_obu(&mut picture, &obu)?;
            }
        }
    }
    (open.is_none() && !picture.data.is_empty()).then_some(picture)
}

/// Adds an OBU, with its size.
fn put_obu(picture: &mut Picture, obu: &[u8]) -> Option<()> {
    let (header, mut body) = obu.split_first()?;
    let kind = header >> 3 & 0x0f;
    if kind == TEMPORAL_DELIMITER || kind == PADDING {
        return Some(());
    }
    picture.keyframe |= kind == SEQUENCE_HEADER;
    picture.data.push(header | HAS_SIZE);
    if header & HAS_EXTENSION != 0 {
        let (extension, after) = body.split_first()?;
        picture.data.push(*extension);
        body = after;
    }
    if header & HAS_SIZE != 0 {
        let length = read_leb128(&mut body)?;
        body = body.get(..length)?;
    }
    put_leb128(&mut picture.data, body.len());
    picture.data.extend_from_slice(body);
    Some(())
}

/// A number of up to 32 bits in groups of 7, the lowest first.
fn read_leb128(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u64;
    for group in 0..5 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

fn put_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obus_are_put_together_and_get_their_sizes() {
        // N, two elements: a sequence header, and a frame that goes on.
        let first: &[u8] = &[0x68, 3, 0x08, 0xaa, 0xbb, 0x30, 1, 2];
        // Goes on; one element.
        let second: &[u8] = &[0x90, 3, 4];
        assert!(starts_keyframe(first) && !starts_keyframe(second));
        let picture = depacketize([first, second].into_iter()).expect("whole");
        assert!(picture.keyframe);
        assert_eq!(picture.data, [0x0a, 2, 0xaa, 0xbb, 0x32, 4, 1, 2, 3, 4]);
        assert_eq!(depacketize([first].into_iter()), None, "its end is missing");
        assert_eq!(depacketize([second].into_iter()), None, "its beginning is missing");
    }

    #[test]
    fn delimiters_and_padding_are_left_out_and_extensions_kept() {
        // All elements with lengths: a delimiter, padding, a frame with an extension and a size of its own.
        let packet: &[u8] = &[0x00, 1, 0x10, 2, 0x78, 0, 5, 0x36, 0x48, 2, 7, 8];
        let picture = depacketize([packet].into_iter()).expect("whole");
        assert_eq!(picture, Picture { keyframe: false, data: vec![0x36, 0x48, 2, 7, 8] });
        assert_eq!(depacketize([&[0x00, 9, 0x30][..]].into_iter()), None, "longer than its packet");
        assert_eq!(depacketize([&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]].into_iter()), None, "absurd");
    }
}
