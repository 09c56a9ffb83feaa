//! The fronts as a picture (SVG): for each family pod-hours against overload minutes, a line for each contender.

use std::fmt::Write as _;

use super::sweep::{Contender, Point, Results, Swept};

const PANEL_WIDTH: f64 = 400.0;
const PANEL_HEIGHT: f64 = 250.0;
/// Around the axes of a panel.
const LEFT: f64 = 52.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 34.0;
const RIGHT: f64 = 16.0;
const COLUMNS: usize = 2;
const HEADING: f64 = 64.0;
/// Overload minutes at the ends of the axis, which is logarithmic: points with less lie on its left end, those with more
/// are left out.
const LEAST: f64 = 0.1;
const MOST: f64 = 200.0;
const TICKS: [f64; 4] = [0.1, 1.0, 10.0, 100.0];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2430}.title{font-size:17px;font-weight:600}\
     .name{font-size:13px;font-weight:600}.note{fill:#667085}.axis{stroke:#cbd5e1;fill:none}\
     polyline{fill:none;stroke-width:2}.ours{stroke:#2563eb}.hpa{stroke:#f59e0b}.buffer{stroke:#16a34a}\
     .fixed{stroke:#94a3b8}";

/// Draws all families, two in a row.
pub fn picture(all: &[Results]) -> String {
    let mut body = String::new();
    text(&mut body, "title", 16.0, 28.0, "SFU-hours a week against overload: lower and further left is better");
    let mut x = 16.0;
    for contender in Contender::ALL {
        let class = class(contender);
        let _ = writeln!(body, "<polyline class=\"{class}\" points=\"{x:.0},48 {:.0},48\"/>", x + 24.0);
        text(&mut body, "", x + 30.0, 52.0, contender.name());
        x += 130.0;
    }
    for (index, results) in all.iter().enumerate() {
        let (column, row) = ((index % COLUMNS) as f64, (index / COLUMNS) as f64);
        draw(&mut body, results, column * PANEL_WIDTH, HEADING + row * PANEL_HEIGHT);
    }
    let (width, height) = (COLUMNS as f64 * PANEL_WIDTH, HEADING + all.len().div_ceil(COLUMNS) as f64 * PANEL_HEIGHT);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\">\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn draw(body: &mut String, results: &Results, x: f64, y: f64) {
    let (left, right) = (x + LEFT, x + PANEL_WIDTH - RIGHT);
    let (top, bottom) = (y + TOP, y + PANEL_HEIGHT - BOTTOM);
    text(body, "name", x + 16.0, y + 18.0, results.family.name);
    text(body, "note", x + 16.0, y + 34.0, results.family.about);
    let _ = writeln!(body, "<path class=\"axis\" d=\"M{left} {top}V{bottom}H{right}\"/>");
    let (least, most) = range(results);
    let across = |minutes: f64| {
        let share = (minutes.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
        left + share * (right - left)
    };
    let down = |hours: f64| bottom - (hours - least) / (most - least) * (bottom - top);
    for tick in TICKS {
        text(body, "note", across(tick) - 8.0, bottom + 16.0, &format!("{tick}"));
    }
    text(body, "note", right - 90.0, bottom + 30.0, "minutes a week");
    for hours in [least, f64::midpoint(least, most), most] {
        text(body, "note", x + 16.0, down(hours) + 4.0, &format!("{hours:.0}"));
    }
    for swept in &results.swept {
        let points = drawn(swept);
        let points = points.iter().filter(|point| point.outcome.pod_hours <= most);
        let points: Vec<String> = points
            .map(|point| format!("{:.1},{:.1}", across(point.outcome.overload_minutes), down(point.outcome.pod_hours)))
            .collect();
        let _ = writeln!(body, "<polyline class=\"{}\" points=\"{}\"/>", class(swept.contender), points.join(" "));
    }
}

/// What of a front is drawn.
fn drawn(swept: &Swept) -> Vec<&Point> {
    swept.front().into_iter().filter(|point| point.outcome.overload_minutes <= MOST).collect()
}

/// SFU-hours at the foot and at the top of a panel: not from zero, so that lines can be told apart. What takes twice as
/// much as ours is beyond it.
fn range(results: &Results) -> (f64, f64) {
    let hours = |swept: &Swept| drawn(swept).iter().map(|point| point.outcome.pod_hours).collect::<Vec<_>>();
    let least = results.swept.iter().flat_map(hours).fold(f64::INFINITY, f64::min);
    let ours = results.of(Contender::Ours).map(hours).unwrap_or_default();
    let most = ours.into_iter().reduce(f64::max).unwrap_or(1.0) * 2.0;
    if least < most { (least * 0.9, most) } else { (0.0, most) }
}

fn class(contender: Contender) -> &'static str {
    match contender {
        Contender::Ours => "ours",
        Contender::Hpa => "hpa",
        Contender::Buffered => "buffer",
        Contender::Fixed => "fixed",
    }
}

fn text(body: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{escaped}</text>");
}

#[cfg(test)]
mod tests {
    use super::super::family::Family;
    use super::super::world::Outcome;

    use super::*;

    #[test]
    fn a_front_is_drawn_from_the_dearest_to_the_busiest() {
        let point = |overload_minutes, pod_hours| Point {
            parameters: String::new(),
            outcome: Outcome { overload_minutes, pod_hours, departures: 0.0 },
        };
        let points = vec![point(200.0, 50.0), point(0.0, 100.0), point(200.0, 70.0), point(300.0, 40.0)];
        let results = Results {
            family: Family::named("office").unwrap(),
            swept: vec![Swept { contender: Contender::Ours, points }],
        };
        let drawn = picture(&[results]);
        // The axes go from 52 to 384 and from 280 up to 108, which are 45 and 200 hours.
        assert!(drawn.contains("<polyline class=\"ours\" points=\"52.0,219.0 384.0,274.5\"/>"), "{drawn}");
        assert_eq!(drawn.matches("<text").count(), drawn.matches("</text>").count());
    }
}
