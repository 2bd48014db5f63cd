//! The question before data is replaced or destroyed.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};

use crate::report::tell;

/// Whether a person who was told `what` will happen says yes. Where there is nobody to ask it is no.
pub fn ask(verb: &str, what: &[String]) -> Result<bool> {
    if !io::stdin().is_terminal() {
        tell(&format!(
            "zeebe-snap: `{verb}` asks before it changes anything; there is no terminal to ask at, so say --yes"
        ));
        return Ok(false);
    }
    what.iter().for_each(|line| tell(line));
    eprint!("Type yes to go on: ");
    io::stderr().flush().context("write to the terminal")?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("read the answer")?;
    Ok(line.trim() == "yes")
}
