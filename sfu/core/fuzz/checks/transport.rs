//! What must hold of engines whatever clients send: no panic, nothing leaves that its client cannot open or that uses a
//! nonce twice, no answer without end, and there is always a time at which nothing more is to be done.
//!
//! Clients' packets are sealed before they are sent, so that what is inside of them is reached: RTP and RTCP as SRTP,
//! SCTP as DTLS of an association whose handshake is done and whose data channel is open.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use sfu_core::engine::command::Command;
use sfu_core::id::TransportKey;
use sfu_core::time::Time;
use sfu_core::transport::DtlsRole;
use sfu_core::transport::association::{Association, AssociationOutput, CloseReason, SctpExport};
use sfu_core::transport::certificate::Certificate;
use sfu_core::transport::dtls::{Dtls, DtlsEnd, DtlsIdentity, DtlsOutput};
use sfu_core::transport::sctp::{ChannelOptions, Reliability};

#[path = "bench.rs"]
mod bench;
#[path = "steps.rs"]
mod steps;

use bench::Bench;
use steps::{Data, Input, run};

/// Whose association it is.
const CLIENT: usize = 1;
/// More in answer to one datagram would be without end.
const MAX_OUTPUTS: usize = 1000;
/// Length of SCTP's common header: ports, verification tag, checksum.
const SCTP_HEADER: usize = 12;

pub fn check(input: &[u8]) {
    let mut bench = Bench::new();
    run(&mut bench, &mut Input(input), &mut Channels::default());
}

/// The association of a client and control's end of it, from when they are first needed.
#[derive(Default)]
struct Channels(Option<Ends>);

struct Ends {
    server: Association,
    client: Dtls,
    tag: u32,
}

impl Data for Channels {
    fn handle(&mut self, bench: &mut Bench, is_sealed: bool, bytes: &[u8]) {
        let Ends { client, tag, .. } = self.0.get_or_insert_with(|| prepared().restore(bench.now));
        let site = bench.clients[CLIENT].site;
        if !is_sealed {
            return bench.datagram(CLIENT, site, bytes.to_vec());
        }
        client.send(bench.now, &packet(*tag, bytes));
        while let Some(output) = client.poll() {
            if let DtlsOutput::Datagram(datagram) = output {
                bench.datagram(CLIENT, site, datagram);
            }
        }
    }

    fn settle(&mut self, bench: &mut Bench) {
        let (now, site) = (bench.now, bench.clients[CLIENT].site);
        let datagrams = std::mem::take(&mut bench.dtls);
        let Some(Ends { server, client, .. }) = &mut self.0 else { return };
        for (_, datagram) in datagrams.into_iter().filter(|(of, _)| *of == CLIENT) {
            server.handle_datagram(now, &datagram);
        }
        server.handle_timeout(now);
        for outputs in 0.. {
            assert!(outputs < MAX_OUTPUTS, "answers without end");
            match server.poll() {
                Some(AssociationOutput::Datagram(datagram)) => {
                    client.handle_datagram(now, &datagram);
                    bench.command(site, Command::SendDtls { transport: TransportKey(CLIENT as u64), datagram });
                }
                Some(AssociationOutput::Closed { reason }) => {
                    assert_ne!(reason, CloseReason::Dtls(DtlsEnd::Internal), "the library panicked");
                }
                Some(AssociationOutput::Message { channel, data, binary }) => {
                    // An echo: what we send is under way when the next packet comes.
                    let _ = server.send(now, channel, &data, binary);
                }
                Some(_) => {}
                None => break,
            }
        }
        while client.poll().is_some() {}
    }
}

/// An SCTP packet with what is the same in every packet of an association: without it, nothing else would be read.
fn packet(tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend_from_slice(&tag.to_be_bytes());
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(chunks);
    let checksum = crc32c(&packet);
    packet[SCTP_HEADER - 4..SCTP_HEADER].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// RFC 9260, appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift))
}

/// Both ends after their handshake, written down: a handshake for each input would be most of the work.
struct Prepared {
    identities: [DtlsIdentity; 2],
    server: String,
    client: String,
    tag: u32,
}

impl Prepared {
    fn restore(&self, now: Time) -> Ends {
        let [client, server] = self.identities.clone();
        let state = serde_json::from_str(&self.server).expect("as it was written");
        let server = Association::restore(state, server, now).expect("undamaged");
        let state = serde_json::from_str(&self.client).expect("as it was written");
        Ends { server, client: Dtls::restore(&state, client, now).expect("undamaged"), tag: self.tag }
    }
}

fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let identity = || DtlsIdentity::new(&Certificate::generate().expect("a certificate")).expect("an identity");
        let identities = [identity(), identity()];
        let mut now = Time::from_millis(1000);
        let make = |at: usize, role| {
            let expected = Some(identities[1 - at].fingerprint());
            Association::new(role, identities[at].clone(), expected, now)
        };
        let mut ends = [make(0, DtlsRole::Client), make(1, DtlsRole::Server)];
        let options = ChannelOptions { label: "chat".into(), ordered: true, reliability: Reliability::Reliable };
        ends[0].open_channel(now, options).expect("the first one");
        let mut opened = 0;
        while opened < 2 {
            for at in 0..2 {
                ends[at].handle_timeout(now);
                while let Some(output) = ends[at].poll() {
                    match output {
                        AssociationOutput::Datagram(datagram) => ends[1 - at].handle_datagram(now, &datagram),
                        AssociationOutput::ChannelOpened(_) => opened += 1,
                        _ => {}
                    }
                }
            }
            now += Duration::from_millis(10);
        }
        let written = ends.map(|end| {
            serde_json::to_value(end.export(SctpExport::Exact).expect("nothing is under way")).expect("can be written")
        });
        let tag = written[1].pointer("/sctp/socket/my_verification_tag").and_then(Value::as_u64).expect("it has one");
        let client = written[0]["dtls"].to_string();
        Prepared { identities, server: written[1].to_string(), client, tag: tag as u32 }
    })
}
