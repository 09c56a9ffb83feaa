//! The report as text: a table for each network, and who is worse where.

use std::fmt::Write as _;

use super::figures::{Better, METRICS, Metric, median};
use super::measure::Measured;
use super::subject_name;
use crate::relay::{Kind, Network};

/// Everything that was measured of one network. Repeats of both servers with the same number ran side by side.
#[derive(Clone, Debug)]
pub struct Results {
    pub network: Network,
    pub seconds: f64,
    pub ours: Vec<Measured>,
    /// Empty without a peer.
    pub theirs: Vec<Measured>,
    /// Calls that could not be measured and were tried again.
    pub failures: Vec<Failure>,
}

/// A call that could not be measured.
#[derive(Clone, Debug)]
pub struct Failure {
    pub of: Kind,
    pub repeat: u16,
    pub error: String,
}

const NAME_WIDTH: usize = 48;
const WIDTH: usize = 12;

impl Results {
    /// The medians of a metric, ours and theirs; `None` where nobody was measured or it has no meaning here.
    fn values(&self, metric: &Metric) -> (Option<f64>, Option<f64>) {
        let of = |measured: &Measured| metric.of(measured, &self.network.rates, self.seconds);
        if self.ours.iter().chain(&self.theirs).all(|measured| of(measured).is_none()) {
            return (None, None);
        }
        let middle = |repeats: &[Measured]| median(repeats.iter().filter_map(|one| of(one).or(metric.worst())));
        (middle(&self.ours), middle(&self.theirs))
    }

    /// Whether ours is worse anywhere, or failed more often.
    pub fn is_worse(&self) -> bool {
        let n_failures = |kind| self.failures.iter().filter(|one| one.of == kind).count();
        !self.worse().is_empty() || n_failures(Kind::Calls) > n_failures(Kind::Livekit)
    }

    /// The names of the metrics in which ours is worse.
    fn worse(&self) -> Vec<&'static str> {
        let is_worse = |metric: &&Metric| {
            let (ours, theirs) = self.values(metric);
            ours.zip(theirs).is_some_and(|(ours, theirs)| metric.is_worse(ours, theirs))
        };
        METRICS.iter().filter(is_worse).map(|metric| metric.name).collect()
    }
}

/// The table of one network.
pub fn table(results: &Results) -> String {
    let has_peer = !results.theirs.is_empty();
    let mut text = format!("{}: {}\n", results.network.name, results.network.about);
    let headings = if has_peer { ["calls", "livekit", "worse"] } else { ["calls", "", ""] };
    push_row(&mut text, "", headings.map(str::to_owned));
    for metric in &METRICS {
        let (ours, theirs) = results.values(metric);
        if ours.or(theirs).is_none() {
            continue;
        }
        let write = |value: Option<f64>| value.map(short).unwrap_or_default();
        push_row(&mut text, metric.name, [write(ours), write(theirs), verdict(metric, ours, theirs).to_owned()]);
    }
    for Failure { of, repeat, error } in &results.failures {
        let _ = writeln!(text, "  tried again: {}, repeat {repeat}: {error}", subject_name(*of));
    }
    text
}

/// Where ours is worse, over all networks.
pub fn summary(all: &[Results]) -> String {
    let lines: Vec<String> = all
        .iter()
        .flat_map(|results| results.worse().into_iter().map(|name| format!("  {}: {name}", results.network.name)))
        .collect();
    if lines.is_empty() { "calls is worse nowhere".into() } else { format!("calls is worse in\n{}", lines.join("\n")) }
}

fn verdict(metric: &Metric, ours: Option<f64>, theirs: Option<f64>) -> &'static str {
    match (ours, theirs) {
        _ if metric.better == Better::Neither => "",
        (Some(ours), Some(theirs)) if metric.is_worse(ours, theirs) => "calls",
        (Some(ours), Some(theirs)) if metric.is_worse(theirs, ours) => "livekit",
        _ => "",
    }
}

fn push_row(text: &mut String, name: &str, cells: [String; 3]) {
    let _ = write!(text, "  {name:<NAME_WIDTH$}");
    for cell in cells {
        let _ = write!(text, "{cell:>WIDTH$}");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn short(value: f64) -> String {
    match value.abs() {
        f64::INFINITY => "never".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(seconds: u64) -> Measured {
        Measured { full_after: Some(Duration::from_secs(seconds)), ..Measured::default() }
    }

    fn results(ours: u64, theirs: Option<u64>) -> Results {
        let network = Network { name: "clean".into(), about: "nothing".into(), rates: vec![] };
        Results {
            network,
            seconds: 1.0,
            ours: vec![measured(ours)],
            theirs: theirs.map(measured).into_iter().collect(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_row_says_who_is_worse() {
        let text = table(&results(9, Some(2)));
        let row: Vec<&str> = text.lines().nth(2).expect("a row").split("  ").filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            row.iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
            ["camera: in full after joining, s", "9.00", "2.00", "calls"]
        );
        assert!(table(&results(2, Some(9))).ends_with("livekit\n"));
        assert_eq!(text.lines().count(), 3, "what was not measured has no row");
    }

    #[test]
    fn a_picture_that_never_came_is_worse_than_a_late_one() {
        let mut never = results(9, Some(2));
        never.ours[0].full_after = None;
        assert_eq!(never.worse(), ["camera: in full after joining, s"]);
        assert!(table(&never).contains("never"));
        never.theirs[0].full_after = None;
        assert_eq!(never.worse(), [""; 0], "it came to nobody");
    }

    #[test]
    fn the_summary_names_network_and_metric() {
        let all = [results(9, Some(2)), results(2, Some(9))];
        assert_eq!(summary(&all), "calls is worse in\n  clean: camera: in full after joining, s");
        assert_eq!(summary(&all[1..]), "calls is worse nowhere");
    }

    #[test]
    fn what_was_tried_again_is_told() {
        let failed = |of| Failure { of, repeat: 1, error: "Bo is not in the call after 40 s".into() };
        let with = |failures| Results { failures, ..results(2, Some(9)) };
        assert!(with(vec![failed(Kind::Calls)]).is_worse() && !with(vec![failed(Kind::Livekit)]).is_worse());
        let text = table(&with(vec![failed(Kind::Livekit)]));
        assert!(text.ends_with("\n  tried again: livekit, repeat 1: Bo is not in the call after 40 s\n"), "{text}");
    }

    #[test]
    fn alone_nobody_is_worse() {
        assert!(table(&results(9, None)).ends_with("9.00\n"));
    }
}
