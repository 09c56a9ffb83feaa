use sfu_core::id::Ssrc;
use sfu_core::media::rtp::write_header;

use super::super::codec::Encoder;
use super::*;

const PATIENCE: Duration = Duration::from_millis(650);
const FIRST: u32 = 1_000_000;

/// One voice on a network without delay, heard 100 ms later.
struct Heard {
    voice: Voice,
    encoder: Encoder,
    clock: SenderClock,
    frame: i64,
    sound: Vec<f32>,
    late: u32,
    concealed: u32,
}

impl Heard {
    fn new() -> Self {
        let voice = Voice::new(Some(63), PATIENCE).expect("a voice");
        let encoder = Encoder::new(48_000).expect("an encoder");
        Self { voice, encoder, clock: SenderClock::default(), frame: 0, sound: Vec::new(), late: 0, concealed: 0 }
    }

    fn packet(&mut self, at: u32) -> Vec<u8> {
        let sample = |n: usize| 0.4 * ((at * 960) as f32 + n as f32).mul_add(0.05, 0.0).sin();
        let samples: [f32; FRAME] = std::array::from_fn(sample);
        self.encoder.encode(&samples)
    }

    fn send(&mut self, millis: u64, sequence: u16, timestamp: u32, payload_type: u8, payload: &[u8]) -> bool {
        let mut packet = Vec::new();
        write_header(&mut packet, payload_type, false, sequence, timestamp, Ssrc(1));
        packet.extend_from_slice(payload);
        let header = Header::parse(&packet).expect("ours");
        self.voice.handle_rtp(Time::from_millis(millis), &header, header.payload.of(&packet))
    }

    /// Sends packet `at`, at its time.
    fn usual(&mut self, at: u32) {
        let payload = self.packet(at);
        self.send(u64::from(at) * 20, at as u16, FIRST.wrapping_add(at * 960), 111, &payload);
    }

    fn hear(&mut self) {
        let mut sum = [0.0; FRAME];
        let now = Time::from_millis(self.frame as u64 * 20 + 100);
        let heard = self.voice.mix(now, &self.clock, Time::ZERO, self.frame * FRAME as i64, &mut sum);
        (self.late, self.concealed) = (self.late + heard.late, self.concealed + heard.concealed);
        self.frame += 1;
        self.sound.extend(sum);
    }

    fn power(&self, frames: std::ops::Range<usize>) -> f32 {
        let part = &self.sound[frames.start * FRAME..frames.end * FRAME];
        part.iter().map(|sample| sample * sample).sum::<f32>() / part.len() as f32
    }
}

#[test]
fn order_of_arrival_does_not_matter() {
    let mut heard = Heard::new();
    let packets: Vec<Vec<u8>> = (0..30).map(|at| heard.packet(at)).collect();
    for at in [1, 0, 3, 2, 5, 4, 9, 8, 7, 6] {
        heard.send(200, at, FIRST + u32::from(at) * 960, 111, &packets[usize::from(at)]);
        heard.send(200, at, FIRST + u32::from(at) * 960, 111, &packets[usize::from(at)]);
    }
    // The last one was captured when it came.
    heard.frame = 1;
    for _ in 0..20 {
        heard.hear();
    }
    assert_eq!((heard.late, heard.concealed), (0, 0));
    assert!(heard.power(1..9) > 0.04, "{}", heard.power(1..9));
}

#[test]
fn a_lost_packet_is_concealed_and_a_pause_is_not() {
    let mut heard = Heard::new();
    for at in (0..20).filter(|at| *at != 9) {
        heard.usual(at);
    }
    // A pause of a second: the numbers go on, the timestamps jump.
    let payload = heard.packet(70);
    heard.send(1400, 20, FIRST + 70 * 960, 111, &payload);
    for _ in 0..80 {
        heard.hear();
    }
    assert_eq!((heard.late, heard.concealed), (0, 960));
    assert!(heard.power(9..10) > 0.01, "{}", heard.power(9..10));
    assert!(heard.power(22..69) == 0.0);
    assert!(heard.power(70..71) > 0.005);
}

#[test]
fn sound_that_ends_fades_instead_of_clicking() {
    let mut heard = Heard::new();
    for at in 0..10 {
        heard.usual(at);
    }
    for _ in 0..14 {
        heard.hear();
    }
    let steps = heard.sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(steps < 0.05, "{steps}");
    assert!(heard.power(12..14) == 0.0);
}

#[test]
fn redundant_frames_stand_in_for_lost_packets() {
    let mut heard = Heard::new();
    let packets: Vec<Vec<u8>> = (0..20).map(|at| heard.packet(at)).collect();
    for at in (1..20_u16).filter(|at| at % 3 != 0) {
        let earlier = red::Earlier { payload_type: 111, age: 960, data: &packets[usize::from(at) - 1] };
        let mut payload = Vec::new();
        red::write(&mut payload, [earlier].into_iter(), (111, &packets[usize::from(at)]));
        assert!(heard.send(u64::from(at) * 20, at, FIRST + u32::from(at) * 960, 63, &payload));
    }
    for _ in 0..25 {
        heard.hear();
    }
    assert_eq!((heard.late, heard.concealed), (0, 0));
    assert!((1..18).all(|frame| heard.power(frame..frame + 1) > 0.04));
}

#[test]
fn what_is_no_opus_is_refused_and_numbers_of_the_past_mean_a_new_beginning() {
    let mut heard = Heard::new();
    assert!(!heard.send(0, 0, FIRST, 111, &[]));
    assert!(!heard.send(0, 0, FIRST, 111, &[0xff, 0xff]), "frames of 20 ms that do not fit");
    assert!(!heard.send(0, 0, FIRST, 63, &[0xef, 0, 0]), "redundancy that is cut short");
    for at in 0..30 {
        heard.usual(at);
        heard.hear();
    }
    // The sender's numbers begin again, 10,000 lower; its timestamps go on.
    let mut taken = 0;
    for at in 30..80_u32 {
        let payload = heard.packet(at);
        let is_taken =
            heard.send(u64::from(at) * 20, (at as u16).wrapping_sub(10_000), FIRST + at * 960, 111, &payload);
        taken += u32::from(is_taken);
        heard.hear();
    }
    assert!(taken >= 30, "{taken} of 50");
}

#[test]
fn waiting_packets_are_bounded() {
    let mut heard = Heard::new();
    let payload = heard.packet(0);
    for at in 0..5000_u32 {
        heard.send(0, at as u16, FIRST + at * 10, 111, &payload);
    }
    assert_eq!(heard.voice.waiting.len(), MOST_WAITING);
}
