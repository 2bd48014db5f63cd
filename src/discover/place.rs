//! Where this host sees a path of a process that may have a root and mounts of its own, as in a container.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use zeebe_snap_backends::mounts::{self, Mount};

/// The file or folder that the process of `folder` (`/proc/PID`) names `path`; symbolic links lead nowhere but below its
/// own root.
fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = rustix::fs::open(folder.join("root"), flags, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?.into())
}

/// Whether there is such a thing.
pub fn is_there(folder: &Path, path: &Path) -> bool {
    open(folder, path).is_ok()
}

/// A file's content, as the process would read it.
pub fn read(folder: &Path, path: &Path) -> Result<Vec<u8>> {
    let root = rustix::fs::open(
        folder.join("root"),
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
    );
    let wanted = || format!("read {}", path.display());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(
        root.with_context(wanted)?,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    );
    let mut content = Vec::new();
    io::Read::read_to_end(&mut File::from(file.with_context(wanted)?), &mut content)
        .with_context(wanted)?;
    Ok(content)
}

/// The path by which this host sees what the process of `folder` names `path`.
pub fn on_host(folder: &Path, path: &Path) -> Result<PathBuf> {
    let looked = || format!("look at {} as the broker sees it", path.display());
    let there = open(folder, path)
        .and_then(|file| file.metadata())
        .with_context(looked)?;
    if is_same(path, &there) {
        return Ok(path.to_owned());
    }
    let theirs = fs::read(folder.join("mountinfo")).with_context(looked)?;
    let candidates = candidates(&mounts::parse(&theirs)?, &mounts::read()?, path);
    let Some(seen) = candidates.into_iter().find(|path| is_same(path, &there)) else {
        bail!(
            "{} is on no volume that this host has mounted, but in a container's own layer or on a mount of its own",
            path.display()
        );
    };
    Ok(seen)
}

fn is_same(path: &Path, there: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()))
}

/// Where the part of a file system that is mounted at `path` there is mounted here. The newest mounts first: they cover
/// older ones.
fn candidates(theirs: &[Mount], ours: &[Mount], path: &Path) -> Vec<PathBuf> {
    let around = |mount: &&Mount| path.starts_with(&mount.point);
    // The last of the longest: a later mount covers an earlier one at the same place.
    let Some(mount) = theirs
        .iter()
        .filter(around)
        .max_by_key(|mount| mount.point.components().count())
    else {
        return Vec::new();
    };
    let Ok(rest) = path.strip_prefix(&mount.point) else {
        return Vec::new();
    };
    let within = mount.root.join(rest);
    // A container's own layer is mounted only as long as it runs.
    let lasts = |mount: &&Mount| !mount.fstype.contains("overlay");
    ours.iter()
        .rev()
        .filter(lasts)
        .filter(|ours| ours.device == mount.device)
        .filter_map(|ours| Some(ours.point.join(within.strip_prefix(&ours.root).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_a_container_is_found_where_this_host_has_it() {
        // Of a container with a named volume (Docker 28.2), and of its host.
        let theirs = mounts::parse(
            b"700 600 0:50 / / rw - overlay overlay rw\n\
            710 700 254:1 /var/lib/docker/volumes/z/_data /usr/local/zeebe/data rw - ext4 /dev/vda1 rw\n",
        );
        let ours = mounts::parse(
            b"29 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 29 254:1 / /srv rw - ext4 /dev/vda1 rw\n\
            31 29 254:1 /var/lib/docker /var/lib/docker rw - ext4 /dev/vda1 rw\n\
            32 31 0:50 / /var/lib/docker/overlay2/3f/merged rw - overlay overlay rw\n",
        );
        let seen = |path: &str| {
            candidates(
                theirs.as_ref().unwrap(),
                ours.as_ref().unwrap(),
                Path::new(path),
            )
        };
        assert_eq!(
            seen("/usr/local/zeebe/data/x"),
            [
                Path::new("/var/lib/docker/volumes/z/_data/x"),
                Path::new("/srv/var/lib/docker/volumes/z/_data/x")
            ]
        );
        assert!(seen("/usr/local/zeebe/logs").is_empty());
    }

    /// Needs root, as the program does.
    #[test]
    fn what_a_process_with_mounts_of_its_own_sees_is_found_on_this_host() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("a volume"));
        for folder in [&root, &volume] {
            fs::create_dir(folder).unwrap();
        }
        fs::create_dir(volume.join("data")).unwrap();
        let script = "mount --rbind / \"$1\" && mount --bind \"$2\" \"$1/mnt\" && \
            mount -t tmpfs own \"$1/srv\" && exec chroot \"$1\" sleep 1000";
        let mut child = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([&root, &volume])
            .spawn()
            .unwrap();
        let folder = PathBuf::from(format!("/proc/{}", child.id()));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while fs::read_to_string(folder.join("comm")).unwrap() != "sleep\n" {
            assert!(child.try_wait().unwrap().is_none());
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let seen = |path: &str| on_host(&folder, Path::new(path));
        let results = (
            seen("/mnt/data"),
            seen("/usr/bin"),
            seen("/srv"),
            seen("/mnt/none"),
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(results.0.unwrap(), volume.join("data"));
        assert_eq!(results.1.unwrap(), Path::new("/usr/bin"));
        let only_its = results.2.unwrap_err().to_string();
        assert!(only_its.contains("on no volume"), "{only_its}");
        assert!(results.3.is_err());
    }
}
