//! Running other programs, with errors that say which, what it said and where the rest is.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// How many of a failed program's last lines an error repeats.
const TAIL_LINES: usize = 20;

/// A command of a program and its arguments.
pub fn command<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns what it wrote to its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message repeats the end of what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.output().with_context(|| format!("failed to start `{line}`"))?;
    check(&line, &output)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end and forgets what it wrote.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command that reads `input` from its standard input; returns what it wrote.
pub fn output_of_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start `{line}`"))?;
    let mut stdin = child.stdin.take().context("a piped standard input is missing")?;
    // Programs that fail early close the pipe: what they say about it is worth more than our broken pipe.
    let written = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output()?;
    check(&line, &output)?;
    written.with_context(|| format!("failed to write to `{line}`"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that may write a lot: all of it goes to `log`, which is begun anew.
///
/// # Errors
/// When it cannot be started or fails; the message names the log and repeats its end.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let line = describe(command);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(log).with_context(|| format!("failed to make the log {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("failed to start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status}); its log is {} and ends with\n{}", log.display(), tail_of(log));
    }
    Ok(())
}

/// Whether a command can be started and succeeds; what it writes is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The last lines of a file, for an error message; says so if it cannot be read.
pub fn tail_of(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => tail(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("  ({} cannot be read: {error})", log.display()),
    }
}

/// The command as one could type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn check(line: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    bail!("`{line}` failed ({})\n{}", output.status, tail(&String::from_utf8_lossy(said)));
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_what_the_program_said() {
        let error = run(&mut command("sh", ["-c", "echo no such thing >&2; exit 3"])).expect_err("it failed");
        let message = format!("{error:#}");
        assert!(message.contains("exit status: 3") && message.contains("  no such thing"), "{message}");
    }

    #[test]
    fn a_command_is_told_as_one_could_type_it() {
        let command = command("ip", ["link", "add", "it's here", ""]);
        assert_eq!(describe(&command), r"ip link add 'it'\''s here' ''");
    }

    #[test]
    fn only_the_last_lines_are_repeated() {
        let text = (1..=100).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
        let tail = tail(&text);
        assert!(tail.starts_with("  line 81\n") && tail.ends_with("  line 100"), "{tail}");
    }

    #[test]
    fn input_reaches_the_program() {
        let said = output_of_input(&mut command("cat", [] as [&str; 0]), b"hello").expect("cat works");
        assert_eq!(said, "hello");
    }
}
