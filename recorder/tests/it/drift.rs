use std::time::Duration;

use calls_recorder::NtpTime;
use calls_recorder::timeline::SenderClock;
use calls_recorder::voices::{FRAME, Voice};
use sfu_core::id::Ssrc;
use sfu_core::media::rtp::Header;
use sfu_core::media::rtp::write_header;

use crate::people::{Chance, ORIGIN, beeps, time};

/// An hour of a voice whose device runs wrong by so many millionths, on a network with jitter. Returns how far, in
/// milliseconds, the beeps lie from where they belong: the least and the most.
fn hour(ppm: f64) -> (f64, f64) {
    const DELAY: f64 = 0.8;
    let (mut voice, mut clock) =
        (Voice::new(None, Duration::from_millis(650)).expect("a voice"), SenderClock::default());
    let (mut chance, packets) = (Chance(3), beeps());
    let speed = 1.0 + ppm * 1e-6;
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    let (mut n_sent, mut next_report, mut n_beeps, mut silent_until) = (0_u32, 0.5, 0, 0.0);
    for frame in 0..180_000_i64 {
        let now = frame as f64 * 0.02 + 0.02 + DELAY;
        // The wall clock is right, the device's is not, as with real people.
        while f64::from(n_sent + 1) * 0.02 / speed + 0.03 < now {
            let sent = f64::from(n_sent + 1) * 0.02 / speed;
            let mut packet = Vec::new();
            write_header(&mut packet, 111, false, n_sent as u16, n_sent.wrapping_mul(960), Ssrc(1));
            packet.extend_from_slice(&packets[n_sent as usize % packets.len()]);
            let header = Header::parse(&packet).expect("ours");
            voice.handle_rtp(time(sent + 0.01 + 0.05 * chance.part()), &header, header.payload.of(&packet));
            n_sent += 1;
        }
        if next_report < now {
            let ntp = NtpTime::from_unix(Duration::from_secs_f64(1.7e9 + next_report));
            let timestamp = (next_report * speed * 48_000.0) as u64 as u32;
            voice.handle_report(&mut clock, time(next_report + 0.01 + 0.05 * chance.part()), ntp, timestamp);
            next_report += 3.0;
        }
        let mut sum = [0.0; FRAME];
        let heard = voice.mix(time(now), &clock, ORIGIN, frame * 960, &mut sum);
        assert_eq!((heard.late, heard.concealed), (0, 0), "at {now} s");
        let Some(loud) = sum.iter().position(|sample| sample.abs() > 0.2) else { continue };
        let at = frame as f64 * 0.02 + loud as f64 / 48_000.0;
        if at < silent_until {
            continue;
        }
        silent_until = at + 0.5;
        // A beep after each odd second of the device's.
        let belongs = (1.0 + 2.0 * f64::from(n_beeps)) / speed;
        let off = (at - belongs) * 1000.0;
        (least, most, n_beeps) = (least.min(off), most.max(off), n_beeps + 1);
    }
    assert!(n_beeps >= 1798, "{n_beeps} of 1800 beeps");
    (least, most)
}

#[test]
fn a_clock_that_runs_wrong_neither_starves_nor_floods_an_hour() {
    for ppm in [-100.0, 100.0] {
        let (least, most) = hour(ppm);
        println!("{ppm} ppm for an hour: beeps are {least:.1} to {most:.1} ms off their place");
        // The least delay of the network, 10 ms, is nobody's to know.
        assert!(least > -5.0 && most < 35.0, "{least} to {most} ms");
    }
}
