//! `cargo e2e test`: every ring of tests, fast ones first, each with its time.
//!
//! Rings 0 to 2 are ordinary Rust tests, run as Cargo built them; the page has its own. The outer two are functions in
//! [`crate::tests`]: real browsers against a development server, and against a real Kubernetes.

mod crates;
mod dump;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use self::crates::CrateTests;
pub use self::stage::{Stage, TestNamespace, driver_folder};
use crate::binaries::{self, npm};
use crate::cli::{Profile, TestOptions, UpOptions};
use crate::command::run_logged;
use crate::paths::Paths;
use crate::progress::{Progress, readable};
use crate::{packages, tests, up};

/// Where a test runs, from the innermost out: use the innermost that can prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ring {
    /// Beside the code.
    Units,
    /// Peers of the SFU's core with virtual time and a lossy network.
    Core,
    /// Loopback sockets and real clients in Rust.
    Loopback,
    /// The page's own.
    Web,
    /// Browsers against `calls-sfu serve --dev`.
    Dev,
    /// Browsers and objects against a real Kubernetes.
    Cluster,
}

/// One test of the outer rings.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    /// The claim it proves.
    pub name: &'static str,
    /// [`Ring::Dev`] or [`Ring::Cluster`].
    pub ring: Ring,
    /// Runs only with `--slow`.
    pub slow: bool,
    /// Fails with what was not so.
    pub run: fn(&Stage) -> Result<()>,
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that passed.
    pub passed: usize,
    /// Those that failed.
    pub failed: usize,
}

impl Ring {
    const ALL: [Self; 6] = [Self::Units, Self::Core, Self::Loopback, Self::Web, Self::Dev, Self::Cluster];

    /// What `--only` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::Core => "core",
            Self::Loopback => "loopback",
            Self::Web => "web",
            Self::Dev => "dev",
            Self::Cluster => "cluster",
        }
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    fn of(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed) }
    }
}

/// What was asked for with `--only`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Only {
    All,
    Ring(Ring),
    Name(String),
}

impl Only {
    fn parse(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::All };
        let ring = Ring::ALL.into_iter().find(|ring| ring.name() == text);
        ring.map_or_else(|| Self::Name(text.to_owned()), Self::Ring)
    }

    fn has_ring(&self, ring: Ring) -> bool {
        *self == Self::All || *self == Self::Ring(ring)
    }

    fn has(&self, test: &Test) -> bool {
        match self {
            Self::Name(name) => test.name.contains(name.as_str()),
            _ => self.has_ring(test.ring),
        }
    }
}

/// Runs the tests that were asked for; the exit code tells whether all passed.
pub fn run(paths: &Paths, progress: &Progress, options: &TestOptions) -> Result<ExitCode> {
    let only = Only::parse(options.only.as_deref());
    let chosen: Vec<Test> =
        tests::all().into_iter().filter(|test| only.has(test) && (options.slow || !test.slow)).collect();
    if options.list {
        if chosen.is_empty() {
            progress.say("No test of the outer rings is called that, nor is any in that ring.");
            return Ok(ExitCode::FAILURE);
        }
        for test in &chosen {
            println!("{:<10} {}{}", test.ring.name(), test.name, if test.slow { "  (slow)" } else { "" });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    // A name of an outer test needs no build of the inner ones.
    let has_inner = match &only {
        Only::Name(_) => chosen.is_empty(),
        _ => [Ring::Units, Ring::Core, Ring::Loopback].into_iter().any(|ring| only.has_ring(ring)),
    };
    up::install_crates_packages(paths, progress)?;
    if has_inner {
        let crates = progress.step("Building the crates' tests", |_| CrateTests::build(paths))?;
        for ring in [Ring::Units, Ring::Core, Ring::Loopback] {
            let filter = if let Only::Name(name) = &only { Some(name.as_str()) } else { None };
            if filter.is_some() || only.has_ring(ring) {
                tally.add(in_ring(progress, ring, || Ok(crates.run(paths, progress, ring, filter))));
            }
        }
    }
    if only.has_ring(Ring::Web) {
        tally.add(in_ring(progress, Ring::Web, || Ok(web(paths, progress))));
    }
    for ring in [Ring::Dev, Ring::Cluster] {
        let chosen: Vec<Test> = chosen.iter().filter(|test| test.ring == ring).copied().collect();
        if !chosen.is_empty() {
            tally.add(in_ring(progress, ring, || outer(paths, progress, ring, &chosen, options)));
        }
    }
    progress.say(&format!("\nAll of it took {}.", readable(started.elapsed())));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally == Tally::default() {
        progress.say("No test is called that; --list names those of the outer rings.");
    }
    Ok(if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a ring; one that cannot be run at all counts as one failed test.
fn in_ring(progress: &Progress, ring: Ring, run: impl FnOnce() -> Result<Tally>) -> Tally {
    progress.say(&format!("\n{} tests", ring.name()));
    let started = Instant::now();
    let tally = run().unwrap_or_else(|error| {
        progress.say(&format!("the {} tests could not be run: {error:#}", ring.name()));
        Tally::of(false)
    });
    let Tally { passed, failed } = tally;
    progress.say(&format!("{:>8}     {}: {passed} passed, {failed} failed", readable(started.elapsed()), ring.name()));
    tally
}

fn web(paths: &Paths, progress: &Progress) -> Tally {
    let folders = [paths.repository().join("web"), paths.repository().join("e2e/browser")];
    let mut tally = Tally::default();
    for folder in folders.iter().filter(|folder| folder.join("package-lock.json").exists()) {
        let name = folder.strip_prefix(paths.repository()).unwrap_or(folder).display().to_string();
        for script in scripts(folder, &["check", "test"]) {
            let log = paths.build_logs().join(format!("npm-{script}-{}.log", name.replace('/', "-")));
            let result = progress.step(&format!("{name}: npm run {script}"), |step| {
                binaries::install_node_modules(paths, folder, step)?;
                run_logged(npm(folder).args(["run", script]), &log)
            });
            if let Err(error) = &result {
                progress.say(&format!("{error:#}"));
            }
            tally.add(Tally::of(result.is_ok()));
        }
    }
    tally
}

/// Those of the scripts that a package has.
fn scripts<'a>(folder: &std::path::Path, wanted: &[&'a str]) -> Vec<&'a str> {
    let text = std::fs::read_to_string(folder.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    wanted.iter().copied().filter(|script| package["scripts"][script].is_string()).collect()
}

fn outer(paths: &Paths, progress: &Progress, ring: Ring, chosen: &[Test], asked: &TestOptions) -> Result<Tally> {
    progress.step("Installing browsers", |step| {
        packages::ensure(paths, &packages::BROWSERS, step)?;
        binaries::install_node_modules(paths, &stage::driver_folder(paths), step)
    })?;
    let stage = if ring == Ring::Dev {
        Stage::dev(paths, progress, asked.tuning)?
    } else {
        let options =
            UpOptions { nodes: asked.nodes, context: None, registry: None, profile: Profile::Ci, bare: false };
        Stage::cluster(paths, up::up(paths, progress, &options)?, asked.tuning)?
    };
    let mut tally = Tally::default();
    for test in chosen {
        stage.begin(test.name);
        let started = Instant::now();
        let result = (test.run)(&stage);
        let took = started.elapsed();
        progress.say(&test_line(test, took, result.is_ok()));
        if let Err(error) = &result {
            progress.say(&format!("           {error:#}\n           {}", stage.dump(test.name)));
        }
        stage.end();
        tally.add(Tally::of(result.is_ok()));
    }
    Ok(tally)
}

fn test_line(test: &Test, took: Duration, passed: bool) -> String {
    format!("{:>8} {}  {}", readable(took), if passed { "ok" } else { "FAILED" }, test.name)
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn only_names_a_ring_or_a_part_of_a_name() {
        assert_eq!(Only::parse(None), Only::All);
        assert_eq!(Only::parse(Some("cluster")), Only::Ring(Ring::Cluster));
        assert_eq!(Only::parse(Some("mute")), Only::Name("mute".to_owned()));
        let test = Test { name: "mute_silences", ring: Ring::Dev, slow: false, run: |_| Ok(()) };
        assert!(Only::parse(Some("mute")).has(&test) && Only::parse(Some("dev")).has(&test));
        assert!(!Only::parse(Some("cluster")).has(&test) && !Only::parse(Some("share")).has(&test));
    }

    #[test]
    fn names_of_outer_tests_are_claims_and_distinct() {
        let mut names: Vec<&str> = tests::all().iter().map(|test| test.name).collect();
        let n_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n_names);
        assert!(names.iter().all(|name| name.contains('_')), "a claim has more than one word: {names:?}");
        assert!(tests::all().iter().all(|test| matches!(test.ring, Ring::Dev | Ring::Cluster)));
    }
}
