//! The report as text.

use std::fmt::Write as _;

use super::figures::{Metric, Summary};
use super::measure::Measured;
use super::scenario::Scenario;

/// Everything that was measured of one scenario. Repeats of different subjects with the same number ran side by side.
#[derive(Debug, Clone)]
pub struct Results {
    pub scenario: Scenario,
    pub ours: Vec<Measured>,
    /// The peer's name and its repeats, if there is one.
    pub peer: Option<(&'static str, Vec<Measured>)>,
    /// Empty for an idle scenario: there is nothing to send.
    pub bare: Vec<Measured>,
}

const NAME_WIDTH: usize = 42;
const WIDTH: usize = 18;

/// The table of one scenario.
pub fn table(results: &Results) -> String {
    let Results { scenario, ours, peer, bare } = results;
    let mut text = format!("{}: {}\n", scenario.name, scenario.about);
    let peer_name = peer.as_ref().map(|(name, _)| *name);
    let against_peer = peer_name.map(|name| format!("calls / {name}"));
    let headings = [
        Some("calls"),
        peer_name,
        (!bare.is_empty()).then_some("bare send"),
        against_peer.as_deref(),
        (!bare.is_empty()).then_some("calls / bare"),
    ];
    push_row(&mut text, "", headings.map(|heading| heading.map(str::to_owned)));
    let theirs = peer.as_ref().map_or(&[][..], |(_, repeats)| repeats);
    for metric in Metric::ALL {
        let of = |repeats: &[Measured]| Summary::of_metric(metric, repeats);
        if [of(ours), of(theirs)].iter().all(Option::is_none) {
            continue;
        }
        let ratio = |to: &[Measured]| {
            if metric.is_compared() { Summary::of_ratio(metric, ours, to).map(write_ratio) } else { None }
        };
        let value = |repeats: &[Measured]| of(repeats).map(write_value);
        let cells = [
            Some(value(ours)),
            peer_name.map(|_| value(theirs)),
            (!bare.is_empty()).then(|| value(bare)),
            peer_name.map(|_| ratio(theirs)),
            (!bare.is_empty()).then(|| ratio(bare)),
        ];
        push_row(&mut text, metric.name(), cells.map(|cell| cell.map(Option::unwrap_or_default)));
    }
    if let Some(first) = ours.first().filter(|first| first.n_expected > 0) {
        let _ = writeln!(
            text,
            "  {} packets of {:.0} bytes a repeat; delay seen by {} of {} clients, which open what they receive; the \
             others count it",
            first.n_expected, first.packet_bytes, first.n_opening, first.sessions
        );
    }
    for (name, repeats) in [("calls", ours.as_slice()), (peer_name.unwrap_or_default(), theirs)] {
        let n_forged: u64 = repeats.iter().map(|measured| measured.n_forged).sum();
        if n_forged > 0 {
            let _ = writeln!(text, "  {name}: {n_forged} packets did not authenticate: do not trust these figures");
        }
    }
    text
}

/// Cells that are `None` have no column.
fn push_row(text: &mut String, name: &str, cells: [Option<String>; 5]) {
    let _ = write!(text, "  {name:<NAME_WIDTH$}");
    for cell in cells.into_iter().flatten() {
        let _ = write!(text, "{cell:>WIDTH$}");
    }
    let trimmed = text.trim_end().len();
    text.truncate(trimmed);
    text.push('\n');
}

/// The median and the spread, as `2.31 ±4 %`.
fn write_value(summary: Summary) -> String {
    format!("{} ±{:.0} %", short(summary.median), summary.spread() * 100.0)
}

/// As `1/12.3` where it is less than one.
pub(super) fn write_ratio(summary: Summary) -> String {
    if summary.median > 0.0 && summary.median < 0.995 {
        format!("1/{}", short(1.0 / summary.median))
    } else {
        format!("{:.2}", summary.median)
    }
}

/// Three digits that say something.
pub(super) fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(cpu_ms: u64) -> Measured {
        Measured {
            sessions: 100,
            n_expected: 10_000,
            n_delivered: 10_000,
            packet_bytes: 116.0,
            cpu: Duration::from_millis(cpu_ms),
            took: Duration::from_secs(1),
            memory: 100 * 1024 * 64,
            join_cpu: Duration::from_millis(120),
            n_opening: 10,
            ..Measured::default()
        }
    }

    #[test]
    fn a_scenario_is_a_table_with_ratios() {
        let results = Results {
            scenario: Scenario::named("A").unwrap(),
            ours: vec![measured(20), measured(22), measured(24)],
            peer: Some(("livekit", vec![measured(220), measured(220), measured(264)])),
            bare: vec![measured(20), measured(20), measured(20)],
        };
        let text = table(&results);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "A: a meeting: 1 call of 100, 2 speak");
        let cells = |line: &str| {
            line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(cells(lines[1]), ["calls", "livekit", "bare send", "calls / livekit", "calls / bare"]);
        let packet = ["server CPU a packet delivered, us", "2.20 ±9 %", "22.0 ±10 %", "2.00 ±0 %", "1/11.0", "1.10"];
        assert_eq!(cells(lines[2]), packet);
        let memory = lines.iter().find(|line| line.contains("KiB")).unwrap();
        assert_eq!(cells(memory)[1], "64.0 ±0 %");
        assert!(text.contains("delay seen by 10 of 100 clients"), "{text}");
        assert!(!text.contains("idle"), "{text}");
    }

    #[test]
    fn alone_there_are_no_ratios() {
        let idle = Measured { n_expected: 0, n_delivered: 0, ..measured(1) };
        let scenario = Scenario::named("E1").unwrap();
        let text = table(&Results { scenario, ours: vec![idle], peer: None, bare: vec![] });
        assert!(text.contains("server CPU an idle session a second, us"), "{text}");
        assert!(!text.contains('/') && !text.contains("packet"), "{text}");
    }

    #[test]
    fn numbers_have_three_digits() {
        let written = [0.0, 0.0456, 1.234, 12.34, 123.4].map(short);
        assert_eq!(written, ["0.00", "0.046", "1.23", "12.3", "123"]);
    }
}
