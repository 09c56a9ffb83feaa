//! VP9 (RFC 9628): a picture is one frame, or one for each spatial layer.

use sfu_core::media::vp9::Descriptor;

use super::Picture;

/// Most frames a superframe can have (VP9 bitstream specification, annex B).
const MOST_LAYERS: usize = 8;

/// The frame itself is asked too: what is not predicted (P) may still be no keyframe, and some senders never say P.
pub fn starts_keyframe(payload: &[u8]) -> bool {
    let first = || payload.get(descriptor_length(payload)?).copied();
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_keyframe())
        && first().is_some_and(is_keyframe)
}

pub fn depacketize<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Option<Picture> {
    let mut data = Vec::new();
    let mut begins = Vec::new();
    for payload in payloads {
        let descriptor = Descriptor::parse(payload)?;
        if descriptor.begins_frame {
            begins.push(data.len());
        }
        data.extend_from_slice(payload.get(descriptor_length(payload)?..)?);
    }
    if begins.first() != Some(&0) || begins.len() > MOST_LAYERS {
        return None;
    }
    let keyframe = is_keyframe(*data.first()?);
    if begins.len() > 1 {
        put_superframe_index(&mut data, &begins);
    }
    Some(Picture { keyframe, data })
}

/// Length of the descriptor (RFC 9628, section 4.2). `None` if it is cut short.
fn descriptor_length(payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    let has = |bit: u8| first & bit != 0;
    let (has_id, is_predicted, has_layer, is_flexible, has_structure) =
        (has(0x80), has(0x40), has(0x20), has(0x10), has(0x02));
    let mut at = 1;
    if has_id {
        at += if payload.get(at)? & 0x80 == 0 { 1 } else { 2 };
    }
    if has_layer {
        at += if is_flexible { 1 } else { 2 };
    }
    if is_flexible && is_predicted {
        for _ in 0..3 {
            at += 1;
            if payload.get(at - 1)? & 1 == 0 {
                break;
            }
        }
    }
    if has_structure {
        let structure = *payload.get(at)?;
        at += 1;
        if structure & 0x10 != 0 {
            at += 4 * (usize::from(structure >> 5) + 1);
        }
        if structure & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(payload.get(at)? >> 2 & 3);
            }
        }
    }
    Some(at)
}

/// Whether a frame that begins with this byte is a keyframe (VP9 bitstream specification, section 6.2): two bits of
/// marker, two of profile, and neither a frame shown again nor one predicted. Profile 3 has a bit more.
const fn is_keyframe(first: u8) -> bool {
    let bits = if first >> 4 & 3 == 3 { first << 1 } else { first };
    first >> 6 == 2 && bits & 0x0c == 0
}

/// Frames that are one picture are one block of a file, so decoders have to be told where each begins (VP9 bitstream
/// specification, annex B.2). RTP leaves that out, because its descriptors say it.
fn put_superframe_index(data: &mut Vec<u8>, begins: &[usize]) {
    const BYTES_PER_SIZE: usize = 4;
    let marker = 0xc0 | (BYTES_PER_SIZE as u8 - 1) << 3 | (begins.len() as u8 - 1);
    let ends = begins[1..].iter().copied().chain([data.len()]);
    let sizes: Vec<u32> = begins.iter().zip(ends).map(|(begin, end)| (end - begin) as u32).collect();
    data.push(marker);
    for size in sizes {
        data.extend_from_slice(&size.to_le_bytes());
    }
    data.push(marker);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_descriptor_ends_where_the_rfc_says() {
        assert_eq!(descriptor_length(&[0x08]), Some(1));
        assert_eq!(descriptor_length(&[0x88, 0x12]), Some(2), "a picture id of 7 bits");
        assert_eq!(descriptor_length(&[0xa8, 0x92, 0x34, 0x20, 7]), Some(5), "15 bits; layer and index");
        assert_eq!(descriptor_length(&[0xf8, 0x12, 0x20, 0x03, 0x04]), Some(5), "flexible, two references");
        // Two layers with sizes, two pictures: one without reference, one with one.
        let structure = [0x0a, 0x38, 0, 1, 0, 2, 0, 3, 0, 4, 2, 0x00, 0x04, 1];
        assert_eq!(descriptor_length(&structure), Some(14));
        assert_eq!(descriptor_length(&structure[..10]), None);
        assert_eq!(descriptor_length(&[]), None);
    }

    #[test]
    fn layers_of_a_picture_become_a_superframe() {
        // B and E; a layer each. The first byte of a keyframe of profile 0, and of a predicted frame.
        let payloads: [&[u8]; 3] = [&[0x28, 0, 7, 0x82, 1, 2], &[0x24, 0, 7, 3], &[0x2c, 3, 7, 0x86, 9]];
        assert!(starts_keyframe(payloads[0]) && !starts_keyframe(payloads[2]));
        let picture = depacketize(payloads.into_iter()).expect("whole");
        assert!(picture.keyframe);
        assert_eq!(picture.data, [0x82, 1, 2, 3, 0x86, 9, 0xd9, 4, 0, 0, 0, 2, 0, 0, 0, 0xd9]);
        let alone = depacketize(payloads[..2].iter().copied()).expect("whole");
        assert_eq!(alone.data, [0x82, 1, 2, 3], "one frame needs no index");
        assert_eq!(depacketize(payloads[1..].iter().copied()), None, "the beginning is missing");
    }
}
