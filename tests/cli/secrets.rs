//! A value that is nobody's business is in the brokers' environment and in their config file, and comes out nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::World;
use crate::down::SECRET;

/// Every verb, in the order in which each has something to do.
const VERBS: &[&[&str]] = &[
    &["init", "--print"],
    &["check"],
    &["backup", "--dry-run"],
    &["backup"],
    &["list"],
    &["show", "latest"],
    &["verify", "latest"],
    &["status"],
    &["restore", "latest", "--dry-run"],
    &["restore", "latest"],
    &["restore", "latest", "--no-start", "--yes"],
    &["status"],
    &["undo", "--no-start", "--dry-run"],
    &["undo", "--no-start", "--yes"],
    &["release", "--all", "--dry-run"],
    &["release", "--all", "--yes"],
    &["forget", "latest", "--dry-run"],
    &["forget", "latest", "--yes"],
    &["recover", "--dry-run"],
    &["recover"],
];

#[test]
fn a_secret_is_in_no_output_and_in_no_file_but_the_kept_config() {
    for form in [&[][..], &["--json"], &["-v"], &["-vv", "--json"]] {
        let world = World::down();
        for verb in VERBS {
            let said = world.run(&[*verb, form].concat());
            assert!(!said.contains(SECRET), "{verb:?} {form:?}: {said}");
        }
        world.run(&["backup"]);
        let state = world.dir.path().join("state");
        let (mut holding, mut files) = (Vec::new(), 0);
        for file in below(&state) {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", file.display());
            if file.is_dir() {
                continue;
            }
            files += 1;
            let content = fs::read(&file).unwrap();
            if String::from_utf8_lossy(&content).contains(SECRET) {
                holding.push(file);
            }
        }
        assert!(files > 6, "{files} files below {}", state.display());
        let kept = |file: &PathBuf| {
            file.starts_with(state.join("sets")) && file.to_str().unwrap().contains("-config-")
        };
        assert!(
            !holding.is_empty() && holding.iter().all(kept),
            "{holding:?}"
        );
    }
}

/// All that is in a folder, and the folder.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(below(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}
