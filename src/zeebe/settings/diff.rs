//! What a config file is and what it would become, for people.

use std::path::Path;

use similar::TextDiff;

use super::masked;

/// A unified diff of `old` (`None`: there is no file) and `new`, with secrets masked on both sides; empty where they are
/// equal.
pub fn diff(path: &Path, old: Option<&str>, new: &str) -> String {
    if old == Some(new) {
        return String::new();
    }
    let (before, after) = (masked(old.unwrap_or_default()), masked(new));
    let was = old.map_or_else(|| "/dev/null".to_owned(), |_| path.display().to_string());
    let is = path.display().to_string();
    if old.is_some() && before == after {
        return format!("--- {was}\n+++ {is}\n@@ only values that are not shown differ @@\n");
    }
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(2)
        .header(&was, &is)
        .to_string()
}
