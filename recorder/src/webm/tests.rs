use super::*;
use crate::screen::VideoCodec;

fn header(codec: Option<VideoCodec>) -> Header {
    let video = codec.map(|codec| VideoTrack { codec, width: 640, height: 480, private: Vec::new() });
    Header { video, audio: AudioTrack { pre_skip: 312 } }
}

fn drain(writer: &mut Writer) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| writer.poll_output()).collect()
}

const fn block(track: TrackNumber, millis: u64, keyframe: bool) -> Block<'static> {
    Block { track, time: Duration::from_millis(millis), keyframe, data: b"data" }
}

#[test]
fn a_cluster_leaves_whole_after_a_second_or_before_a_keyframe() {
    let mut writer = Writer::new(&header(Some(VideoCodec::Vp8)));
    assert_eq!(drain(&mut writer).len(), 1, "the header");
    writer.write(block(TrackNumber::Video, 0, true));
    for millis in (0..1000).step_by(20) {
        writer.write(block(TrackNumber::Audio, millis, true));
    }
    assert!(drain(&mut writer).is_empty(), "a second is not over");
    writer.write(block(TrackNumber::Audio, 1000, true));
    let first = drain(&mut writer);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0][..4], [0x1f, 0x43, 0xb6, 0x75]);
    writer.write(block(TrackNumber::Video, 1015, false));
    writer.write(block(TrackNumber::Video, 1020, true));
    let second = drain(&mut writer);
    // Timestamp 1000; audio at +0; video at +15, no keyframe.
    assert_eq!(second[0][5..], *b"\xe7\x82\x03\xe8\xa3\x88\x82\0\0\x80data\xa3\x88\x81\0\x0f\0data");
}

#[test]
fn the_front_of_a_finished_file_tells_where_everything_is() {
    let mut writer = Writer::new(&header(None));
    for millis in (0..2500).step_by(20) {
        writer.write(block(TrackNumber::Audio, millis, true));
    }
    let mut file = drain(&mut writer).concat();
    let patches = writer.finish(Duration::from_millis(2500));
    file.extend(drain(&mut writer).concat());
    let before = file.len();
    for Patch { offset, bytes, .. } in patches {
        file.splice(offset as usize..offset as usize + bytes.len(), bytes);
    }
    assert_eq!(file.len(), before, "patches overwrite");
    let segment = file.windows(4).position(|id| id == [0x18, 0x53, 0x80, 0x67]).expect("a segment") + 12;
    let cues = file.windows(4).rposition(|id| id == [0x1c, 0x53, 0xbb, 0x6b]).expect("an index");
    let clusters: Vec<usize> =
        (0..file.len()).filter(|at| file[*at..].starts_with(&[0x1f, 0x43, 0xb6, 0x75])).collect();
    assert_eq!(clusters.len(), 3);
    let size = u64::from_be_bytes(file[segment - 8..segment].try_into().expect("eight")) & ((1 << 56) - 1);
    assert_eq!(size as usize, file.len() - segment);
    // The last entry of the index of parts; the last of the index of times.
    let position = (cues - segment) as u16;
    let [high, low] = position.to_be_bytes();
    let entry = [0x53, 0xab, 0x84, 0x1c, 0x53, 0xbb, 0x6b, 0x53, 0xac, 0x82, high, low];
    assert!(file[..cues].windows(entry.len()).any(|bytes| bytes == entry));
    let [high, low] = ((clusters[2] - segment) as u16).to_be_bytes();
    assert!(file.ends_with(&[0xb3, 0x82, 0x07, 0xd0, 0xb7, 0x87, 0xf7, 0x81, 2, 0xf1, 0x82, high, low]));
    let duration = [&[0x44, 0x89, 0x88][..], &2500_f64.to_be_bytes()].concat();
    assert!(file.windows(duration.len()).any(|bytes| bytes == duration));
}
