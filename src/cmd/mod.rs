//! The verbs: one file each, with its arguments (their comments are the manual) and a run function.

mod ask;
mod backup;
mod carry;
mod check;
mod forget;
mod init;
mod let_go;
mod list;
mod lost;
mod recover;
mod release;
mod replace;
mod restore;
mod show;
mod status;
mod stream;
mod tree;
mod undo;
mod verify;

pub use recover::UnknownDebt;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use zeebe_snap_backends::tree::ByteString;

use crate::config::{self, Cluster};
use crate::exit::Exit;
use crate::id::RunId;
use crate::plan::{Finding, Plan, Weight};
use crate::report::tell;
use crate::world::Places;
use crate::{agent, lock, service};

/// Cold backups of a Zeebe broker cluster, and the way back
///
/// Stops all brokers together, snapshots every data volume in milliseconds, starts the brokers again, and does everything
/// slow afterwards, from the frozen snapshots.
#[derive(Debug, Parser)]
#[command(
    name = "zeebe-snap",
    version,
    max_term_width = 110,
    infer_long_args = false
)]
struct Cli {
    /// The cluster to work on
    #[arg(
        long,
        global = true,
        help_heading = "Options of every verb",
        value_name = "FILE",
        default_value = "/etc/zeebe-snap/cluster.toml"
    )]
    cluster: PathBuf,
    /// Where journals and the catalog of sets are kept
    #[arg(
        long,
        global = true,
        help_heading = "Options of every verb",
        value_name = "DIR",
        default_value = "/var/lib/zeebe-snap"
    )]
    state_dir: PathBuf,
    /// Log what is run; twice for more
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Options of every verb",
        action = clap::ArgAction::Count
    )]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Init),
    Check(check::Check),
    Backup(backup::Backup),
    List(list::List),
    Show(show::Show),
    Verify(verify::Verify),
    Restore(restore::Restore),
    Undo(undo::Undo),
    Release(release::Release),
    Forget(forget::Forget),
    Status(status::Status),
    Recover(recover::Recover),
    Stream(stream::Stream),
    Tree(tree::Tree),
    #[command(hide = true)]
    Agent,
    #[command(hide = true)]
    Launch {
        record: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },
    #[command(hide = true)]
    Ship(NotBuilt),
    #[command(hide = true)]
    Prune(NotBuilt),
    #[command(hide = true)]
    Drill(NotBuilt),
}

/// A verb that is to come.
#[derive(Debug, Args)]
struct NotBuilt {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// Runs the program: arguments in, exit code out.
pub fn main() -> Exit {
    let cli = Cli::parse();
    log(cli.verbose);
    match dispatch(cli) {
        Ok(exit) => exit,
        Err(error) => {
            tell(&format!("zeebe-snap: {error:#}"));
            Exit::of(&error)
        }
    }
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => "zeebe_snap=debug,zeebe_snap_backends=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ZEEBE_SNAP_LOG")
        .unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        // A terminal that is gone is no reason to stop.
        .log_internal_errors(false)
        .init();
}

fn dispatch(cli: Cli) -> Result<Exit> {
    let places = Places {
        cluster: absolute(cli.cluster)?,
        state_dir: absolute(cli.state_dir)?,
        verbose: cli.verbose > 0,
    };
    match cli.verb {
        Verb::Init(verb) => verb.run(&places),
        Verb::Check(verb) => verb.run(&places),
        Verb::Backup(verb) => verb.run(&places),
        Verb::List(verb) => verb.run(&places),
        Verb::Show(verb) => verb.run(&places),
        Verb::Verify(verb) => verb.run(&places),
        Verb::Restore(verb) => verb.run(&places),
        Verb::Undo(verb) => verb.run(&places),
        Verb::Release(verb) => verb.run(&places),
        Verb::Forget(verb) => verb.run(&places),
        Verb::Status(verb) => verb.run(&places),
        Verb::Recover(verb) => verb.run(&places),
        Verb::Stream(verb) => verb.run(),
        Verb::Tree(verb) => verb.run(),
        Verb::Agent => agent::serve(&places.cluster, &places.state_dir).map(|()| Exit::Done),
        Verb::Launch { record, program } => {
            service::launch::launch(&record, &program).map(|()| Exit::Done)
        }
        Verb::Ship(_) => not_built("ship"),
        Verb::Prune(_) => not_built("prune"),
        Verb::Drill(_) => not_built("drill"),
    }
}

fn not_built(verb: &str) -> Result<Exit> {
    tell(&format!("zeebe-snap: `{verb}` is not built yet"));
    Ok(Exit::Usage)
}

fn run_id(text: &str) -> Result<RunId, String> {
    // As `status` names what is kept: restore-20261124T120000Z.
    let id = text.rsplit('-').next().unwrap_or_default();
    id.parse()
        .map_err(|error: crate::id::NotAnId| error.to_string())
}

fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("find {}", path.display()))
}

fn load(places: &Places) -> Result<Cluster> {
    Ok(config::load(&places.cluster)?)
}

/// Only one changing verb at a time works with a state folder.
fn lock_state(places: &Places) -> Result<File> {
    lock::take(&places.state_dir.join("lock"), Duration::ZERO)
}

/// Becomes true with the first signal that asks the program to end. More of them change nothing.
fn interruption() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .context("listen for signals")?;
    }
    Ok(interrupted)
}

/// What was asked for goes to standard output. A reader that went away is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

fn print_json(document: &Value) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(document)?))
}

/// A path as JSON has it: text, or base64 where it is not UTF-8.
fn path_json(path: &Path) -> ByteString {
    path.as_os_str().as_bytes().to_vec().into()
}

/// Findings, for people.
fn findings_text(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let weight = match finding.weight {
            Weight::Refusal => "refused",
            Weight::Warning => "warning",
        };
        format!(
            "{weight}: {}\n  Why: {}.\n  Hint: {}.\n",
            finding.what, finding.why, finding.todo
        )
    };
    findings.iter().map(line).collect()
}

/// A plan, for people: what will be done, and by which commands.
fn plan_text(plan: &Plan, cluster: &Cluster) -> String {
    let mut text = String::new();
    for (number, stage) in plan.stages.iter().enumerate() {
        for (index, step) in stage.steps.iter().enumerate() {
            let head = if index == 0 {
                format!("{:>2}.", number + 1)
            } else {
                "   ".to_owned()
            };
            text.push_str(&format!("{head} {step}\n"));
            for line in step.lines(cluster) {
                text.push_str(&format!("       {line}\n"));
            }
        }
    }
    text
}

/// Findings, on standard error.
fn tell_findings(findings: &[Finding]) {
    if !findings.is_empty() {
        tell(findings_text(findings).trim_end());
    }
}

fn plan_json(verb: &str, plan: Option<&Plan>, findings: &[Finding], cluster: &Cluster) -> Value {
    let step = |step: &crate::plan::Step| serde_json::json!({ "step": step.to_string(), "broker": step.node(), "commands": step.lines(cluster) });
    let stages = plan.map(|plan| {
        plan.stages
            .iter()
            .map(|stage| stage.steps.iter().map(step).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    serde_json::json!({ "format": 1, "verb": verb, "result": "planned", "findings": findings, "stages": stages })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        super::Cli::command().debug_assert();
    }
}
