//! `cargo e2e bench network`: calls between real browsers over bad networks, at our server and at LiveKit's.
//!
//! | file | concept |
//! | --- | --- |
//! | `measure` | one call over one network |
//! | `figures` | what the browser's statistics come to |
//! | `table` | all of it for people |

pub mod figures;
pub mod measure;
pub mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tokio::runtime::Runtime;

use self::measure::{Course, Entrance, Measured, Pair};
use self::table::{Failure, Results};
use crate::browser::{Browser, Driver, Kind as BrowserKind, LaunchOptions};
use crate::cli::{NetworkOptions, Peer};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::relay::{Kind, Network, Relay};
use crate::test::driver_folder;
use crate::{binaries, http, packages};

/// How often a call is tried that cannot be measured, as when it does not come about on a clean network. Each failure is in
/// the table.
const ATTEMPTS: usize = 3;
/// First of the servers' ports: nobody else's.
const PORT: u16 = 17980;

/// Measures and prints.
pub fn run(paths: &Paths, progress: &Progress, options: &NetworkOptions) -> Result<()> {
    progress.step("Installing browsers", |step| {
        packages::ensure(paths, &packages::BROWSERS, step)?;
        binaries::install_node_modules(paths, &driver_folder(paths), step)
    })?;
    let programs = programs(paths, progress, options)?;
    let networks = chosen(Network::all(&programs.bench)?, &options.only)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let driver = {
        let _runtime = runtime.enter();
        Driver::start(&driver_folder(paths))?
    };
    let launch = || runtime.block_on(driver.launch(BrowserKind::Chromium, &LaunchOptions::default()));
    let (sender, receiver) = progress.step("Starting two browsers", |_| Ok((launch()?, launch()?)))?;
    let bench = Bench { options, programs, runtime, driver, sender, receiver };
    let samples = options
        .samples
        .as_ref()
        .map(|path| File::create(path).with_context(|| format!("failed to make {}", path.display())));
    let results = bench.all(progress, networks, samples.transpose()?)?;
    println!(
        "\n{}; {} repeats of {} s, medians; {}",
        if options.peer.is_some() { "calls beside LiveKit" } else { "calls alone" },
        options.repeats,
        options.seconds,
        bench.receiver.version
    );
    for results in &results {
        println!("\n{}", table::table(results).trim_end());
    }
    if options.peer.is_some() {
        println!("\n{}", table::summary(&results));
    }
    if options.fail_if_worse && results.iter().any(Results::is_worse) {
        bail!("calls is worse than its peer somewhere: see above");
    }
    Ok(())
}

/// Our programs, as files.
struct Programs {
    sfu: PathBuf,
    bench: PathBuf,
}

struct Bench<'a> {
    options: &'a NetworkOptions,
    programs: Programs,
    runtime: Runtime,
    driver: Driver,
    sender: Browser,
    receiver: Browser,
}

impl Bench<'_> {
    fn all(&self, progress: &Progress, networks: Vec<Network>, mut samples: Option<File>) -> Result<Vec<Results>> {
        let seconds = self.options.seconds;
        let nothing_yet =
            |network| Results { network, seconds, ours: Vec::new(), theirs: Vec::new(), failures: Vec::new() };
        let mut all: Vec<Results> = networks.into_iter().map(nothing_yet).collect();
        for repeat in 1..=self.options.repeats {
            for results in &mut all {
                for kind in self.subjects(repeat) {
                    let name = &results.network.name;
                    let what = format!("{name}, repeat {repeat} of {}, {}", self.options.repeats, subject_name(kind));
                    let (measured, counters) =
                        progress.step(&what, |_| self.insist(kind, name, repeat, &mut results.failures))?;
                    if let Some(file) = &mut samples {
                        let line = json!({
                            "network": name, "repeat": repeat, "server": subject_name(kind), "measured": measured,
                            "counters": counters,
                        });
                        writeln!(file, "{line}")?;
                    }
                    match kind {
                        Kind::Calls => results.ours.push(measured),
                        Kind::Livekit => results.theirs.push(measured),
                    }
                }
            }
        }
        Ok(all)
    }

    /// In turns, so that nobody is always first.
    fn subjects(&self, repeat: u16) -> Vec<Kind> {
        let mut subjects = vec![Kind::Calls];
        subjects.extend(self.options.peer.map(|Peer::Livekit| Kind::Livekit));
        if repeat.is_multiple_of(2) {
            subjects.reverse();
        }
        subjects
    }

    /// Tries again when a call cannot be measured.
    fn insist(
        &self,
        kind: Kind,
        network: &str,
        repeat: u16,
        failures: &mut Vec<Failure>,
    ) -> Result<(Measured, BTreeMap<String, f64>)> {
        for _ in 1..ATTEMPTS {
            match self.one(kind, network, repeat) {
                Ok(measured) => return Ok(measured),
                Err(error) => failures.push(Failure { of: kind, repeat, error: format!("{error:#}") }),
            }
        }
        self.one(kind, network, repeat)
    }

    /// A fresh server each time; the same seed for both in one repeat. With what our server counted.
    fn one(&self, kind: Kind, network: &str, repeat: u16) -> Result<(Measured, BTreeMap<String, f64>)> {
        let seed = self.options.seed + u64::from(repeat);
        let Programs { sfu, bench } = &self.programs;
        let mut relay = Relay::with_server(bench, kind, sfu, PORT, seed)?;
        let places = relay.places.clone();
        let (Some(url), Some(key), Some(secret)) = (places.url, places.key, places.secret) else {
            bail!("the relay did not say where its server is");
        };
        let pair = Pair { driver: &self.driver, sender: &self.sender, receiver: &self.receiver };
        let course = Course { network, seconds: self.options.seconds };
        let call = format!("network-{network}-{repeat}");
        let entrance = Entrance { url, key, secret };
        let measuring = pair.measure(&entrance, &mut relay, &call, course);
        let measured = self.runtime.block_on(measuring)?;
        let counters = if kind == Kind::Calls { counters()? } else { BTreeMap::new() };
        Ok((measured, counters))
    }
}

fn programs(paths: &Paths, progress: &Progress, options: &NetworkOptions) -> Result<Programs> {
    if let Some(sfu) = &options.server {
        return Ok(Programs { sfu: sfu.clone(), bench: std::env::current_exe()?.with_file_name("calls-bench") });
    }
    let built = progress.step("Building the programs", |_| binaries::build_measured(paths, options.profile))?;
    let program = |name: &str| built.get(name).cloned().with_context(|| format!("{name} was not built"));
    Ok(Programs { sfu: program("calls-sfu")?, bench: program("calls-bench")? })
}

fn chosen(mut networks: Vec<Network>, only: &[String]) -> Result<Vec<Network>> {
    let known = networks.iter().map(|network| network.name.clone()).collect::<Vec<_>>();
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        bail!("there is no network {unknown}, only {}", known.join(", "));
    }
    networks.retain(|network| only.is_empty() || only.contains(&network.name));
    Ok(networks)
}

/// Every number our server exports.
fn counters() -> Result<BTreeMap<String, f64>> {
    let answer = http::get(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), "/metrics")?;
    let lines = answer.lines().filter_map(|line| line.strip_prefix("calls_sfu_")?.rsplit_once(' '));
    Ok(lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

const fn subject_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Calls => "calls",
        Kind::Livekit => "livekit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_that_exist_are_chosen() {
        let network = |name: &str| Network { name: name.into(), about: String::new(), rates: vec![] };
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            chosen(vec![network("clean"), network("loss")], &only)
                .map(|all| all.into_iter().map(|one| one.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).expect("all"), ["clean", "loss"]);
        assert_eq!(names(&["loss"]).expect("one"), ["loss"]);
        let refused = names(&["perfect"]).expect_err("there is none").to_string();
        assert_eq!(refused, "there is no network perfect, only clean, loss");
    }
}
