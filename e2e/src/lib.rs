//! A local Kubernetes, the product on it, and the tests that need both.
//!
//! In goes this repository; out comes a running cluster with a page to open, or a list of tests that passed. The order
//! of things is in [`up`]; each step is in a file of its own. Everything made here lies below one cache folder
//! ([`paths::Paths`]) and in names that start with `calls`, so that [`cluster::teardown`] can remove all of it.
//!
//! What is decided (addresses, configuration files, which process is ours) is pure and tested; what is done is a thin
//! layer of `ip`, `nsenter`, `ctr`, `kubectl` and `helm`.

pub mod audit;
pub mod bench;
pub mod binaries;
pub mod browser;
pub mod cli;
pub mod cluster;
pub mod command;
pub mod crowd;
pub mod deny;
pub mod existing;
pub mod http;
pub mod image;
pub mod install;
pub mod kubectl;
pub mod packages;
pub mod paths;
pub mod progress;
pub mod proxy;
pub mod recorder;
pub mod relay;
pub mod scenarios;
pub mod status;
pub mod test;
pub mod tests;
pub mod two_engines;
pub mod up;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::paths::Paths;
use crate::progress::Progress;

/// Does what the command line asks.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let paths = Paths::find()?;
    let progress = Progress::new();
    match cli.command {
        Command::Up(options) if options.bare => up::up_bare(&paths, &progress, options.nodes).map(|_| {
            println!("The cluster is up, without calls. `cargo e2e status` tells how to reach it.");
            ExitCode::SUCCESS
        }),
        Command::Up(options) => up::up(&paths, &progress, &options).map(|up| {
            up.print();
            ExitCode::SUCCESS
        }),
        Command::Prepare(options) => up::prepare(&paths, &progress, options.profile).map(|_| ExitCode::SUCCESS),
        Command::Test(options) => test::run(&paths, &progress, &options),
        Command::Bench(options) => bench::run(&paths, &progress, &options).map(|()| ExitCode::SUCCESS),
        Command::Deny { arguments } => deny::run(&paths, &progress, &arguments),
        Command::Status => status::print(&paths).map(|()| ExitCode::SUCCESS),
        Command::Down => cluster::teardown::down(&paths, &progress).map(|()| ExitCode::SUCCESS),
        Command::Kubectl { arguments } => kubectl::pass_through(&paths, &arguments),
        Command::Proxy(options) => proxy::serve(&options).map(|()| ExitCode::SUCCESS),
    }
}
