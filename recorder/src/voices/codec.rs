//! Opus (RFC 6716), by libopus. The only file that knows its bindings.

use opusic_c::{Application, Bitrate, Channels, SampleRate, Signal, utils};

use super::FRAME;

/// Samples of 120 ms, the longest a packet can be (RFC 6716, section 2.1.4).
pub const LONGEST_PACKET: usize = 5760;
/// Samples of 2.5 ms: decoders conceal multiples of it only.
pub const SHORTEST_FRAME: usize = 120;
/// How hard the encoder tries, of 10. From 5 to 10 it takes half as long again, for a voice nobody can tell apart.
const COMPLEXITY: u8 = 5;
/// Longest frame the encoder makes, in bytes; at 64 kbit/s one takes 160.
const LARGEST_FRAME: usize = 1275;

/// Room for any packet.
pub type Scratch = Box<[f32]>;

pub fn scratch() -> Scratch {
    vec![0.0; LONGEST_PACKET].into_boxed_slice()
}

/// libopus has no memory, or is not the one this was built for.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up libopus: {0}")]
pub struct OpusError(&'static str);

impl From<opusic_c::ErrorCode> for OpusError {
    fn from(code: opusic_c::ErrorCode) -> Self {
        Self(code.message())
    }
}

/// Decodes one voice to one channel.
pub struct Decoder(opusic_c::Decoder);

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    pub fn new() -> Result<Self, OpusError> {
        Ok(Self(opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000)?))
    }

    /// Decodes a packet into a [`Scratch`]. Returns how many samples it has; `None` for bytes that are no Opus.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32]) -> Option<usize> {
        if packet.is_empty() {
            return None;
        }
        self.0.decode_float_to_slice(packet, out, false).ok()
    }

    /// Fills `out` with what was lost just before `packet`, from what that has of it, or else by going on from the sound
    /// before. Its length is a multiple of [`SHORTEST_FRAME`], and at most [`LONGEST_PACKET`].
    pub fn restore(&mut self, packet: &[u8], out: &mut [f32]) {
        if packet.is_empty() || self.0.decode_float_to_slice(packet, out, true).is_err() {
            out.fill(0.0);
        }
    }

    /// Fills `out` by going on from the sound before. Its length is as for [`restore`](Self::restore).
    pub fn conceal(&mut self, out: &mut [f32]) {
        if self.0.decode_float_to_slice(&[], out, false).is_err() {
            out.fill(0.0);
        }
    }
}

/// How many samples a packet has. `None` for bytes that are no Opus.
pub fn duration(packet: &[u8]) -> Option<usize> {
    if packet.is_empty() {
        return None;
    }
    utils::get_nb_samples(packet, SampleRate::Hz48000).ok().filter(|samples| (1..=LONGEST_PACKET).contains(samples))
}

/// Encodes frames of 20 ms.
pub struct Encoder(opusic_c::Encoder);

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// At so many bits a second.
    pub fn new(bitrate: u32) -> Result<Self, OpusError> {
        let mut encoder = opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Audio)?;
        encoder.set_bitrate(Bitrate::Value(bitrate))?;
        encoder.set_complexity(COMPLEXITY)?;
        encoder.set_signal(Signal::Voice)?;
        Ok(Self(encoder))
    }

    /// Samples it puts before the first one that it is given.
    pub fn pre_skip(&mut self) -> Result<u16, OpusError> {
        Ok(self.0.get_look_ahead()? as u16)
    }

    pub fn encode(&mut self, frame: &[f32; FRAME]) -> Vec<u8> {
        let mut out = vec![0; LARGEST_FRAME];
        let length = self.0.encode_float_to_slice(frame, &mut out).unwrap_or(0);
        out.truncate(length);
        if out.is_empty() {
            // A frame of 20 ms in which nothing was sent (RFC 6716, section 3.1): the track has no holes.
            out.push(0xf8);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vowel that begins at the 30th packet, as a client encodes it that knows its network to lose some.
    fn packets() -> Vec<Vec<u8>> {
        let mut encoder = opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Voip).expect("one");
        encoder.set_bitrate(Bitrate::Value(24_000)).expect("set");
        encoder.set_inband_fec(opusic_c::InbandFec::Mode1).expect("set");
        encoder.set_packet_loss(20).expect("set");
        encoder.set_signal(Signal::Voice).expect("set");
        let packet = |at: usize| {
            let loud = if at % 40 >= 30 { 0.1 } else { 0.0005 };
            let sample = |n: usize| {
                let time = (at * FRAME + n) as f32 / 48_000.0;
                loud * (1..20).map(|k| (std::f32::consts::TAU * 120.0 * k as f32 * time).sin() / k as f32).sum::<f32>()
            };
            let samples: [f32; FRAME] = std::array::from_fn(sample);
            let mut out = vec![0; LARGEST_FRAME];
            let length = encoder.encode_float_to_slice(&samples, &mut out).expect("encoded");
            out.truncate(length);
            out
        };
        (0..80).map(packet).collect()
    }

    #[test]
    fn what_comes_beside_the_next_packet_restores_the_lost_one() {
        // The second syllable begins in the packet that is lost: nobody could guess it.
        const LOST: usize = 70;
        let packets = packets();
        let power = |out: &[f32]| out.iter().map(|sample| sample * sample).sum::<f32>() / out.len() as f32;
        let after_loss = |make_up: fn(&mut Decoder, &[u8], &mut [f32])| {
            let mut decoder = Decoder::new().expect("a decoder");
            let mut out = scratch();
            for packet in &packets[..LOST] {
                assert_eq!(decoder.decode(packet, &mut out), Some(FRAME));
            }
            make_up(&mut decoder, &packets[LOST + 1], &mut out[..FRAME]);
            power(&out[..FRAME])
        };
        let restored = after_loss(Decoder::restore);
        let made_up = after_loss(|decoder, _, out| decoder.conceal(out));
        assert!(restored > 4.0 * made_up, "restored {restored}, made up {made_up}");
    }

    #[test]
    fn what_is_no_opus_has_no_duration() {
        assert_eq!(duration(&[]), None);
        assert_eq!(duration(&[0xff, 0xff]), None, "63 frames of 20 ms");
        assert_eq!(duration(&[0xf8]), Some(960));
    }
}
