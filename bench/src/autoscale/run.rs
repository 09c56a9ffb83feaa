//! `calls-bench autoscale`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::family::{FAMILIES, Family};
use super::sweep::sweep;
use super::{picture, table};

/// How many SFUs the operator's autoscaler takes over weeks of simulated calls, and how often they are too few.
///
/// Beside it a HorizontalPodAutoscaler on CPU, a buffer as Agones keeps it, and a fixed number, each with many
/// parameters. For each family of traces the table has the fewest SFU-hours a week that each reaches with so many minutes
/// of overload at most, how many SFUs left with their calls, and with which parameters: target and window, and for ours
/// how far ahead it looked. No server runs, and the same seeds give the same figures everywhere.
#[derive(Debug, Args)]
pub struct AutoscaleArgs {
    /// Families of traces by name; none for all.
    #[arg(value_name = "FAMILY", value_parser = family, long_help = families_help())]
    families: Vec<Family>,

    /// Traces of four weeks for each family, which differ in size.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,

    /// Also draw the Pareto fronts (SVG).
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Prints a table for each family as soon as it has one, and draws the picture at the end.
///
/// # Errors
/// If the picture cannot be written.
pub fn run(args: AutoscaleArgs) -> Result<()> {
    let families = if args.families.is_empty() { FAMILIES.to_vec() } else { args.families };
    let mut all = Vec::new();
    for family in families {
        let results = sweep(family, args.seeds.into());
        println!("{}", table::table(&results));
        all.push(results);
    }
    if let Some(file) = args.picture {
        let drawn = picture::picture(&all);
        std::fs::write(&file, drawn).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(())
}

fn family(name: &str) -> Result<Family, String> {
    Family::named(name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        format!("there is no such family, only {}", known.join(", "))
    })
}

fn families_help() -> String {
    let lines = FAMILIES.iter().map(|family| format!("  {:<12} {}", family.name, family.about));
    format!("Families of traces by name; none for all:\n{}", lines.collect::<Vec<_>>().join("\n"))
}
