//! What a boot mounts where: `/etc/fstab`.
//!
//! Must not know what is done about it.

use std::path::{Path, PathBuf};

use crate::Result;
use crate::mounts::unescape;
use crate::store::read_if_there;

/// Where it is.
pub const PATH: &str = "/etc/fstab";

/// What a boot mounts at `point`, as it stands there: `/dev/vg/data`, `UUID=…`. (fstab(5); of several lines the last holds.)
pub fn source_of(point: &Path) -> Result<Option<String>> {
    let is_there = |at: &Path| at.components().eq(point.components()); // with or without a slash at its end
    Ok(last(&read()?, is_there).map(|(source, _)| source))
}

/// What a boot mounts at `dir` or nearest above it, the root aside, and where.
pub fn around(dir: &Path) -> Result<Option<(String, PathBuf)>> {
    Ok(nearest(&read()?, dir))
}

fn read() -> Result<Vec<u8>> {
    Ok(read_if_there(Path::new(PATH))?.unwrap_or_default())
}

fn nearest(text: &[u8], dir: &Path) -> Option<(String, PathBuf)> {
    let above = dir.ancestors().filter(|above| above.parent().is_some());
    above
        .filter_map(|above| last(text, |at| at.components().eq(above.components())))
        .next()
}

/// The last line whose mount point is one that is wanted.
fn last(text: &[u8], is_wanted: impl Fn(&Path) -> bool) -> Option<(String, PathBuf)> {
    let lines = text.split(|byte| *byte == b'\n');
    let entry = |line: &[u8]| -> Option<(String, PathBuf)> {
        let mut fields = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty());
        let source = fields.next().filter(|source| !source.starts_with(b"#"))?;
        let source = unescape(source).to_string_lossy().replace('"', "");
        Some((source, unescape(fields.next()?)))
    };
    let entries = lines.filter_map(entry);
    entries.filter(|(_, at)| is_wanted(at)).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b"# /etc/fstab\n#/dev/old /srv/data xfs\n/dev/vg/root / ext4 defaults 0 1\n\
        UUID=\"1a-2b\"\t/srv/x\\040y/\txfs  noatime 0 2\n/dev/vg/data /srv/data xfs defaults 0 2\n\
        /dev/vg/swap none swap sw 0 0\n";

    #[test]
    fn a_line_is_found_by_its_mount_point() {
        let find = |point: &str| {
            let is_there = |at: &Path| at.components().eq(Path::new(point).components());
            last(TEXT, is_there).map(|(source, _)| source)
        };
        assert_eq!(find("/srv/data").as_deref(), Some("/dev/vg/data"));
        assert_eq!(find("/srv/x y").as_deref(), Some("UUID=1a-2b"));
        assert_eq!(find("/srv"), None);
    }

    #[test]
    fn the_nearest_is_found_that_is_not_the_root() {
        let find = |dir: &str| nearest(TEXT, Path::new(dir)).map(|(source, _)| source);
        assert_eq!(find("/srv/data").as_deref(), Some("/dev/vg/data"));
        assert_eq!(find("/srv/x y/zeebe/data").as_deref(), Some("UUID=1a-2b"));
        assert_eq!(find("/srv/database"), None);
    }
}
