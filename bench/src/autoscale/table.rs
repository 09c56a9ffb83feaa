//! The sweep as text.

use std::fmt::Write as _;

use super::sweep::{Contender, Point, Results};

/// Overload minutes a week that a row allows.
pub const BUDGETS: [f64; 4] = [0.5, 2.0, 10.0, 40.0];

/// For each budget the fewest pod-hours a week of each, with its parameters.
pub fn table(results: &Results) -> String {
    let family = results.family;
    let tuned = if family.is_tuned_on { ", tuned on" } else { "" };
    let mut text = format!("{}: {}{tuned}\n", family.name, family.about);
    let mut row = |first: &str, cells: [String; 5]| {
        let [ours, hpa, buffer, fixed, ratio] = cells;
        let _ =
            writeln!(text, "{}", format!("  {first:<13}{ours:<46}{hpa:<34}{buffer:<27}{fixed:<20}{ratio}").trim_end());
    };
    let headings = Contender::ALL.map(Contender::name);
    let [ours, hpa, buffer, fixed] = headings.map(str::to_owned);
    row("overload", [ours, hpa, buffer, fixed, "ours / best other".to_owned()]);
    for budget in BUDGETS {
        let cell =
            |contender| results.of(contender).and_then(|swept| swept.within(budget)).map_or("-".to_owned(), write);
        let [ours, hpa, buffer, fixed] = Contender::ALL.map(cell);
        let ratio = results.ratio(budget).map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
        row(&format!("≤ {budget} min"), [ours, hpa, buffer, fixed, ratio]);
    }
    text
}

fn write(point: &Point) -> String {
    let Point { parameters, outcome } = point;
    format!("{:.0} h, {:.0} left ({parameters})", outcome.pod_hours, outcome.departures)
}

#[cfg(test)]
mod tests {
    use super::super::family::Family;
    use super::super::sweep::Swept;
    use super::super::world::Outcome;

    use super::*;

    #[test]
    fn a_row_has_the_cheapest_of_each_within_its_budget() {
        let point = |name: &str, overload_minutes, pod_hours| Point {
            parameters: name.into(),
            outcome: Outcome { overload_minutes, pod_hours, departures: 7.0 },
        };
        let swept = vec![
            Swept { contender: Contender::Ours, points: vec![point("a", 0.1, 90.0), point("b", 1.5, 60.0)] },
            Swept { contender: Contender::Hpa, points: vec![point("c", 0.2, 100.0)] },
        ];
        let text = table(&Results { family: Family::named("growth").unwrap(), swept });
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
            .collect();
        assert_eq!(rows[2], ["≤ 0.5 min", "90 h, 7 left (a)", "100 h, 7 left (c)", "-", "-", "90.0 %"]);
        assert_eq!(rows[3], ["≤ 2 min", "60 h, 7 left (b)", "100 h, 7 left (c)", "-", "-", "60.0 %"]);
    }
}
