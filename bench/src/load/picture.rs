//! The report as a picture (SVG): for each scenario the server's cost beside the peer's and the limit's.

use std::fmt::Write as _;

use super::figures::{Metric, Summary};
use super::scenario::Scenario;
use super::table::{Results, short, write_ratio};

const WIDTH: usize = 960;
const MARGIN: usize = 24;
const LABELS: usize = 110;
/// Longest bar. Values are written behind it.
const BARS: f64 = 560.0;
const BAR: usize = 18;
const GAP: usize = 6;
const HEADING: usize = 40;
const GROUP_GAP: usize = 26;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2430}.title{font-size:17px;font-weight:600}\
     .note{fill:#667085}.calls{fill:#2563eb}.peer{fill:#f59e0b}.bare{fill:#94a3b8}.spread{stroke:#1f2430;stroke-width:1.5}";

/// A bar: its class, whose it is, what it shows, and what ours is of it.
struct Bar {
    class: &'static str,
    label: &'static str,
    value: Summary,
    ratio: Option<Summary>,
}

/// Draws all scenarios, one below the other. Each group has its own scale: its longest bar fills the width.
pub fn picture(all: &[Results]) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 20;
    text(&mut body, "title", MARGIN, y, "What a server's CPU is spent on: calls beside others, in one run");
    y += 22;
    text(
        &mut body,
        "note",
        MARGIN,
        y,
        "Medians; the line at a bar's end is the range of its repeats. Shorter is better.",
    );
    for results in all {
        let metric = match results.scenario {
            scenario if scenario.is_idle() => Metric::CpuPerIdleSession,
            Scenario { fill: Some(_), .. } => Metric::Delay99,
            _ => Metric::CpuPerPacket,
        };
        let bars = bars(results, metric);
        let longest = bars.iter().map(|bar| bar.value.highest).fold(f64::MIN_POSITIVE, f64::max);
        y += HEADING;
        let heading = format!("{}: {}. {}", results.scenario.name, results.scenario.about, metric.name());
        text(&mut body, "", MARGIN, y, &heading);
        y += GAP;
        for bar in bars {
            draw(&mut body, &bar, longest, y);
            y += BAR + GAP;
        }
        y += GROUP_GAP - HEADING.min(GROUP_GAP);
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn bars(results: &Results, metric: Metric) -> Vec<Bar> {
    let ours = results.ours.as_slice();
    let peer = results.peer.as_ref().map(|(name, repeats)| ("peer", *name, repeats.as_slice()));
    let all = [Some(("calls", "calls", ours)), peer, Some(("bare", "bare send", &results.bare))];
    let bar = |(class, label, repeats)| {
        let is_compared = class != "calls" && metric.is_compared();
        let ratio = if is_compared { Summary::of_ratio(metric, ours, repeats) } else { None };
        Some(Bar { class, label, value: Summary::of_metric(metric, repeats)?, ratio })
    };
    all.into_iter().flatten().filter_map(bar).collect()
}

fn draw(body: &mut String, bar: &Bar, longest: f64, y: usize) {
    let length = |value: f64| value / longest * BARS;
    let (x, middle, baseline) = (MARGIN + LABELS, y + BAR / 2, y + BAR - 5);
    let Bar { class, label, value, ratio } = bar;
    text(body, "", MARGIN, baseline, label);
    let (low, high) = (x as f64 + length(value.lowest), x as f64 + length(value.highest));
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
         <line class=\"spread\" x1=\"{low:.1}\" y1=\"{middle}\" x2=\"{high:.1}\" y2=\"{middle}\"/>",
        length(value.median)
    );
    let ratio = ratio.map(|ratio| format!(": calls takes {} of it", write_ratio(ratio))).unwrap_or_default();
    text(body, "", high as usize + 8, baseline, &(short(value.median) + &ratio));
}

fn text(body: &mut String, class: &str, x: usize, y: usize, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(body, "<text{class} x=\"{x}\" y=\"{y}\">{escaped}</text>");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::measure::Measured;

    use super::*;

    fn measured(cpu_ms: u64) -> Measured {
        Measured {
            sessions: 2,
            n_expected: 1000,
            n_delivered: 1000,
            cpu: Duration::from_millis(cpu_ms),
            took: Duration::from_secs(1),
            ..Measured::default()
        }
    }

    #[test]
    fn bars_are_as_long_as_what_they_show() {
        let results = Results {
            scenario: Scenario::named("D").unwrap(),
            ours: vec![measured(10)],
            peer: Some(("livekit", vec![measured(100)])),
            bare: vec![measured(5)],
        };
        let drawn = picture(&[results]);
        for (class, width) in [("calls", "56.0"), ("peer", "560.0"), ("bare", "28.0")] {
            let start = format!("<rect class=\"{class}\" x=\"134\"");
            let line = drawn.lines().find(|line| line.starts_with(&start)).expect(class);
            assert!(line.contains(&format!("width=\"{width}\"")), "{line}");
        }
        assert!(drawn.contains(">10.0</text>") && drawn.contains(">100: calls takes 1/10.0 of it</text>"), "{drawn}");
        assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
    }

    #[test]
    fn who_was_not_measured_has_no_bar() {
        let scenario = Scenario::named("E2").unwrap();
        let idle = Measured { n_expected: 0, n_delivered: 0, ..measured(3) };
        let drawn = picture(&[Results { scenario, ours: vec![idle], peer: None, bare: vec![] }]);
        assert!(
            drawn.contains("class=\"calls\"")
                && !drawn.contains("class=\"peer\" x")
                && !drawn.contains("class=\"bare\" x")
        );
    }
}
