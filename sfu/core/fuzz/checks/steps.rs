//! What clients and control do in the fuzzed life of two engines, read from bytes: packets that are sealed as they should
//! be and arbitrary inside, datagrams that are arbitrary altogether, commands, moves, time.

use std::time::Duration;

use sfu_core::engine::command::{Command, Feed, Target};
use sfu_core::id::{PeerKey, Ssrc, TransportKey};
use sfu_core::media::rtp::{ExtensionForm, ExtensionWriter, write_header};

use super::bench::{Bench, CLIENTS, PAYLOAD_TYPES, SITES, SSRCS, TRACKS, publish, subscribe};

/// More would be a long test and no better one.
const MAX_STEPS: usize = 300;

/// Bytes to decide by.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, limit: usize) -> Option<usize> {
        Some(usize::from(self.byte()?) % limit)
    }

    /// So many bytes as the next one says, or what is left.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        let (bytes, rest) = self.0.split_at(self.0.len().min(length));
        self.0 = rest;
        Some(bytes)
    }
}

/// Who looks after data channels.
pub trait Data {
    /// Data of a client that is sealed as DTLS, or is taken for it.
    fn handle(&mut self, bench: &mut Bench, is_sealed: bool, bytes: &[u8]);
    /// Time passed, or DTLS came.
    fn settle(&mut self, bench: &mut Bench);
}

/// Goes through the steps an input tells.
pub fn run(bench: &mut Bench, input: &mut Input<'_>, data: &mut impl Data) {
    for _ in 0..MAX_STEPS {
        if step(bench, input, data).is_none() {
            break;
        }
        bench.settle();
        data.settle(bench);
    }
    // Whatever was scheduled comes.
    bench.advance(Duration::from_secs(40));
    data.settle(bench);
}

fn step(bench: &mut Bench, input: &mut Input<'_>, data: &mut impl Data) -> Option<()> {
    match input.byte()? % 16 {
        0 => {
            let (client, site) = (input.below(CLIENTS)?, input.below(SITES)?);
            bench.datagram(client, site, input.bytes()?.to_vec());
        }
        1..=5 => media(bench, input)?,
        6 | 7 => {
            let client = input.below(CLIENTS)?;
            let site = bench.clients[client].site;
            if let Some(datagram) = bench.clients[client].seal_rtcp(input.bytes()?) {
                bench.datagram(client, site, datagram);
            }
        }
        8 => bench.advance(Duration::from_millis(1 << (input.byte()? % 15))),
        9 => control(bench, input)?,
        10 => {
            let (client, site) = (input.below(CLIENTS)?, input.below(SITES)?);
            bench.check(client, site, input.byte()? % 2 == 1);
        }
        11 => data.handle(bench, true, input.bytes()?),
        12 => data.handle(bench, false, input.bytes()?),
        13 => bench.restore(input.below(SITES)?),
        14 => bench.hand_over(input.below(CLIENTS)?),
        _ => relay(bench, input)?,
    }
    Some(())
}

/// A packet of any stream. A bit each: marker, mid and rid, dependency descriptor, any other extension, audio level.
fn media(bench: &mut Bench, input: &mut Input<'_>) -> Option<()> {
    let (client, choice, flags) = (0, input.byte()?, input.byte()?);
    let ssrc = SSRCS[usize::from(choice) % SSRCS.len()];
    let payload_type = PAYLOAD_TYPES[input.below(PAYLOAD_TYPES.len())?];
    let step = input.byte()?.cast_signed();
    let timestamp = (bench.now.as_micros() * 9 / 100) as u32;
    let mut packet = Vec::new();
    write_header(&mut packet, payload_type, flags & 1 != 0, 0, timestamp, Ssrc(ssrc));
    if flags & 0b1_1110 != 0 {
        let form = if flags & 0x20 != 0 { ExtensionForm::TwoByte } else { ExtensionForm::OneByte };
        let mut writer = ExtensionWriter::new(&mut packet, form);
        if flags & 2 != 0 {
            let mid = match ssrc % 100 / 10 {
                1 => "1",
                2 => "2",
                _ => "3",
            };
            writer.push(1, mid.as_bytes());
            let rid = ["q", "h", "f"][ssrc as usize % 10 % 3];
            writer.push(if ssrc > 100 { 3 } else { 2 }, rid.as_bytes());
        }
        if flags & 4 != 0 {
            let descriptor = input.bytes()?;
            let limit = if form == ExtensionForm::OneByte { 16 } else { 255 };
            writer.push(8, &descriptor[..descriptor.len().min(limit)]);
        }
        if flags & 8 != 0 {
            let (id, bytes) = (input.byte()? % 14 + 1, input.bytes()?);
            writer.push(id, &bytes[..bytes.len().min(16)]);
        }
        if flags & 16 != 0 {
            writer.push(4, &[input.byte()?]);
        }
        writer.finish();
    }
    packet.extend_from_slice(input.bytes()?);
    if flags & 0x80 != 0 {
        packet[0] |= 0x20;
    }
    let site = bench.clients[client].site;
    if let Some(datagram) = bench.clients[client].seal(Ssrc(ssrc), step, packet) {
        bench.datagram(client, site, datagram);
    }
    Some(())
}

fn control(bench: &mut Bench, input: &mut Input<'_>) -> Option<()> {
    let (what, client) = (input.byte()? % 10, input.below(CLIENTS)?);
    let (track, site) = (TRACKS[input.below(TRACKS.len())?], bench.clients[client].site);
    let subscription = subscribe(client, track).subscription;
    match what {
        0 => {
            let target = match input.byte()? % 5 {
                4 => Target::Off,
                3 => Target::HIGHEST,
                layer => Target::Layer(layer),
            };
            bench.command(site, Command::SetTarget { subscription, target });
        }
        1 => bench.command(site, Command::SetMuted { track, muted: input.byte()? % 2 == 1 }),
        2 => bench.command(site, Command::Unsubscribe { subscription }),
        // A client may not subscribe to what it publishes, but to what others do, at any time.
        3 if client > 0 => bench.command(site, Command::Subscribe(Box::new(subscribe(client, track)))),
        4 => {
            let site = bench.clients[0].site;
            bench.command(site, Command::Unpublish { track });
        }
        5 => {
            let mut described = publish(track, Feed::Transport(TransportKey(0)));
            let changes = input.byte()?;
            described.nack = changes & 1 != 0;
            if changes & 2 != 0 {
                described.codecs.truncate(1);
            }
            if changes & 4 != 0 {
                described.rids.clear();
            }
            if changes & 8 != 0 {
                described.group = None;
            }
            let site = bench.clients[0].site;
            bench.command(site, Command::Publish(Box::new(described)));
        }
        6 => bench.limit_heard(site, u16::from(input.byte()? % 3)),
        7 => {
            let ice = bench.clients[client].ice.clone();
            bench.command(site, Command::RestartIce { transport: TransportKey(client as u64), ice });
        }
        8 => bench.reconnect(client),
        _ => bench.close_path(client, site),
    }
    Some(())
}

/// The publisher's tracks go to the other engine too, or no more.
fn relay(bench: &mut Bench, input: &mut Input<'_>) -> Option<()> {
    let (what, track) = (input.byte()?, TRACKS[input.below(TRACKS.len())?]);
    let from = bench.clients[0].site;
    let (here, there) = (PeerKey(from as u32), PeerKey(1 - from as u32));
    if what % 4 == 0 {
        bench.command(from, Command::StopRelay { track, peer: there });
    } else {
        bench.command(1 - from, Command::Publish(Box::new(publish(track, Feed::Peer(here)))));
        bench.command(from, Command::RelayTo { track, peer: there });
    }
    Some(())
}
