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
    let text = read_if_there(Path::new(PATH))?.unwrap_or_default();
    Ok(find(&text, point))
}

fn find(text: &[u8], point: &Path) -> Option<String> {
    let lines = text.split(|byte| *byte == b'\n');
    let entry = |line: &[u8]| -> Option<(String, PathBuf)> {
        let mut fields = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty());
        let source = fields.next().filter(|source| !source.starts_with(b"#"))?;
        let source = unescape(source).to_string_lossy().replace('"', "");
        Some((source, unescape(fields.next()?)))
    };
    let at_point = |(source, at): (String, PathBuf)| {
        // With or without a slash at its end.
        (at.components().eq(point.components())).then_some(source)
    };
    lines.filter_map(entry).filter_map(at_point).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_mount_point() {
        let text = b"# /etc/fstab\n#/dev/old /srv/data xfs\n/dev/vg/root / ext4 defaults 0 1\n\
            UUID=\"1a-2b\"\t/srv/x\\040y/\txfs  noatime 0 2\n/dev/vg/data /srv/data xfs defaults 0 2\n";
        let find = |point: &str| find(text, Path::new(point));
        assert_eq!(find("/srv/data").as_deref(), Some("/dev/vg/data"));
        assert_eq!(find("/srv/x y").as_deref(), Some("UUID=1a-2b"));
        assert_eq!(find("/srv"), None);
    }
}
