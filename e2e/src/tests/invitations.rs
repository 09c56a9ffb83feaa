//! Where a page's access is not open, people join with an invitation link that `calls-operator link` made, and only so.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::example::Example;
use crate::command::output;
use crate::install::{CALLS_NAME, CALLS_NAMESPACE};
use crate::scenarios;
use crate::test::{Ring, Stage, Test};

/// The tests of this file.
pub const TESTS: &[Test] = &[Test {
    name: "a_closed_page_takes_invitation_links_and_nothing_else",
    ring: Ring::Cluster,
    slow: false,
    run: a_closed_page_takes_invitation_links,
}];

/// From the changed spec until every SFU follows it.
const CLOSED_LIMIT: Duration = Duration::from_mins(2);

fn a_closed_page_takes_invitation_links(stage: &Stage) -> Result<()> {
    let example = Example::take(stage)?;
    let (driver, call, other) = (stage.browsers()?, stage.call_name(), stage.call_name());
    example.apply(|spec| spec["page"] = json!({"access": "Token"}))?;
    let began = Instant::now();
    stage.block_on(scenarios::an_invitation_is_asked_for(&driver, stage.page(), &call, CLOSED_LIMIT))?;
    println!("           the page is closed {:.1} s after the spec said so", began.elapsed().as_secs_f64());

    let invited = link(stage, &call)?;
    let (address, invitation) = invited.split_once('#').unwrap_or_default();
    ensure!(
        address == format!("{}/c/{call}", stage.page()) && invitation.starts_with("invite="),
        "the link is {invited}"
    );
    let elsewhere = link(stage, &other)?.replace(&format!("/c/{other}#"), &format!("/c/{call}#"));
    // A signature of somebody else's: one character is another.
    let mut forged = invited.clone();
    let last = forged.pop();
    forged.insert(forged.len() - 10, if last == Some('A') { 'B' } else { 'A' });
    let refused = [(elsewhere.as_str(), "is for another call"), (forged.as_str(), "is not valid here")];
    stage.block_on(scenarios::only_the_invited_talk(&driver, &invited, &refused))
}

/// An invitation to a call, as an administrator makes it.
fn link(stage: &Stage, call: &str) -> Result<String> {
    let arguments =
        ["link", "--namespace", CALLS_NAMESPACE, "--name", CALLS_NAME, "--call", call, "--url", stage.page()];
    Ok(output(&mut stage.program("calls-operator", &arguments)?)?.trim().to_owned())
}
