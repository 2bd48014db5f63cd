//! Papers: small files that are kept with a snapshot and destroyed with it, so that what is known of it elsewhere can be lost
//! and found again here.
//!
//! Must not know what they say.

use std::io;
use std::path::Path;

use crate::action::Action;
use crate::store::read_if_there;
use crate::{Error, Result};

/// Writes `papers`, each a file name and its content, to `folder`, one after the other, each durably and for the owner alone. The
/// last one says by being there that all are.
pub fn write(folder: &Path, papers: Vec<(String, Vec<u8>)>) -> Result<Vec<Action>> {
    let mut actions = vec![Action::MakeDir(folder.to_owned())];
    for (name, content) in papers {
        check(&name)?;
        actions.push(Action::Write {
            path: folder.join(name),
            content,
        });
    }
    Ok(actions)
}

/// The paper called `name`, if it is there.
pub fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    check(name)?;
    let path = folder.join(name);
    match read_if_there(&path) {
        // A file where the folder should be.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => Ok(None),
        read => read,
    }
}

/// A name that leads nowhere else. Those that begin with a dot are files that are not whole yet.
fn check(name: &str) -> Result<()> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    match is_plain {
        true => Ok(()),
        false => Err(Error::State(format!("{name:?} is not the name of a file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_paper_leads_out_of_its_folder() {
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/etc/passwd",
            ".x.new",
            "a\0b",
        ] {
            let papers = vec![(bad.to_owned(), Vec::new())];
            assert!(write(Path::new("/srv"), papers).is_err(), "{bad:?}");
            assert!(read(Path::new("/srv"), bad).is_err(), "{bad:?}");
        }
    }
}
