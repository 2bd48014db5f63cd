//! How a frozen tree is read: where it stands, or mounted for this process alone.
//!
//! What is mounted here is in nobody's mount table, not even this process's: a mount that was never attached anywhere
//! (fsmount(2), Linux 5.2 or later) is reached through its descriptor alone, and ends with it. So a process that is killed
//! leaves no mount behind. Must not know what is mounted.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::cmd::{System, quote};
use crate::{Error, Result};

/// A tree that can be read.
#[derive(Debug, Clone)]
pub struct View {
    /// Where it stands; in what has to be attached first, if there is such a thing.
    pub path: PathBuf,
    /// Names in its root that are not part of it.
    pub leave_out: Vec<OsString>,
    /// What has to be attached.
    attach: Option<Arc<dyn Attach>>,
}

/// Makes a tree readable for as long as it is read.
pub trait Attach: fmt::Debug + Send + Sync {
    /// The root of what is mounted. It is gone when this is dropped, and then [`Attach::detach`] is called.
    fn attach(&self, sys: &dyn System) -> Result<OwnedFd>;

    /// Puts away what was readied for the mount.
    fn detach(&self, sys: &dyn System) -> Result<()>;

    /// What a shell would run to have it at `/mnt`.
    fn line(&self) -> String;
}

impl View {
    /// All of what is at `path`, as it is.
    pub fn of(path: PathBuf) -> View {
        View {
            path,
            leave_out: Vec::new(),
            attach: None,
        }
    }

    /// What is at `part` of what `attach` makes readable; all of it where that is empty.
    pub fn attached(attach: Arc<dyn Attach>, part: PathBuf) -> View {
        View {
            path: part,
            leave_out: Vec::new(),
            attach: Some(attach),
        }
    }

    /// The same, without these names in its root.
    #[must_use]
    pub fn without(self, leave_out: Vec<OsString>) -> View {
        View { leave_out, ..self }
    }

    /// Where it stands, if nothing has to be attached.
    pub fn standing(&self) -> Option<&Path> {
        self.attach.is_none().then_some(self.path.as_path())
    }

    /// Lets `read` have the path of the tree. What `read` says goes first; what could not be put away afterwards is an error
    /// only if it says that all is well.
    pub fn read<T, E>(
        &self,
        sys: &dyn System,
        read: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Result<T, E>> {
        let Some(attach) = &self.attach else {
            return Ok(read(&self.path));
        };
        let mount = match attach.attach(sys) {
            Ok(mount) => mount,
            Err(error) => {
                if let Err(second) = attach.detach(sys) {
                    tracing::warn!(error = %second, "what was readied to be read could not be put away");
                }
                return Err(error);
            }
        };
        // With a dot: the descriptor's own name is a symbolic link.
        let root = PathBuf::from(format!("/proc/self/fd/{}/.", mount.as_raw_fd()));
        let said = read(&root.join(&self.path));
        drop(mount);
        match (attach.detach(sys), &said) {
            (Err(error), Ok(_)) => return Err(error),
            (Err(error), Err(_)) => {
                tracing::warn!(%error, "what was read could not be put away");
            }
            (Ok(()), _) => {}
        }
        Ok(said)
    }

    /// What a shell would run before it reads, and the path it would read.
    pub fn line(&self) -> (Option<String>, PathBuf) {
        match &self.attach {
            None => (None, self.path.clone()),
            Some(attach) => (Some(attach.line()), Path::new("/mnt").join(&self.path)),
        }
    }
}

/// For people: a path that may have to be attached first.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line() {
            (None, path) => f.write_str(&quote(path.as_os_str())),
            (Some(line), path) => write!(f, "{} ({line})", quote(path.as_os_str())),
        }
    }
}

impl PartialEq for View {
    fn eq(&self, other: &View) -> bool {
        self.line() == other.line() && self.leave_out == other.leave_out
    }
}

impl Eq for View {}

/// Mounts `source`, a device or a name that the file system `kind` knows, with these options, read-only, for the descriptor
/// alone. (mount(8) knows the same words.)
pub fn mount_apart(source: &str, kind: &str, options: &[&str]) -> Result<OwnedFd> {
    let mounted = || -> rustix::io::Result<OwnedFd> {
        let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "source", source)?;
        fsconfig_set_flag(&fs, "ro")?;
        for option in options {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(&fs, key, value)?,
                None => fsconfig_set_flag(&fs, *option)?,
            }
        }
        fsconfig_create(&fs).map_err(|errno| complained(&fs, source, errno))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mounted().map_err(Error::io("mount", Path::new(source)))
}

/// The kernel says in words why it does not mount, to whoever reads the descriptor.
fn complained(fs: &OwnedFd, source: &str, errno: Errno) -> Errno {
    let mut text = [0; 1024];
    while let Ok(length) = rustix::io::read(fs, &mut text)
        && length > 0
    {
        let text = String::from_utf8_lossy(&text[..length]);
        tracing::warn!(source, "the kernel says: {}", text.trim());
    }
    errno
}
