//! A `systemctl` that stands before the real one, and can hold a run at the first look it takes at the stopped broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cluster::{Cluster, UNITS};
use crate::wait::{seconds, until};

const HERE: &str = "/srv/zeebe/tools";

const SCRIPT: &str = r#"#!/bin/sh
here=/srv/zeebe/tools
real=/usr/bin/systemctl
if [ "$1" = show ] && [ -e "$here/armed" ] && [ "$($real is-active zeebe.service)" = inactive ]; then
    if mv "$here/armed" "$here/held" 2>/dev/null; then
        read -r word <"$here/release"
    fi
fi
exec $real "$@"
"#;

/// The stand-in, armed: the next run is held when its broker is down, before anything is swapped.
#[derive(Debug)]
pub struct Hold<'a>(&'a Cluster);

impl Hold<'_> {
    /// Puts it there, for a program that knows the broker's unit by this name.
    pub fn arm<'a>(cluster: &'a Cluster, unit: &str) -> Hold<'a> {
        let folder = cluster.container().inside(HERE);
        fs::remove_dir_all(&folder).ok();
        cluster
            .container()
            .write(&format!("{HERE}/systemctl"), SCRIPT);
        cluster.container().write(&format!("{HERE}/armed"), "");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.join("systemctl"), mode).unwrap();
        nix::unistd::mkfifo(&folder.join("release"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        cluster.configure(unit, Some(HERE));
        Hold(cluster)
    }

    /// Waits until a run is held.
    pub fn wait_held(&self) {
        let held = self.0.container().inside(&format!("{HERE}/held"));
        until("a run to be held", seconds(120), || {
            held.exists().then_some(())
        });
    }

    /// Lets it go on.
    pub fn release(self) {
        let fifo = self.0.container().inside(&format!("{HERE}/release"));
        fs::write(fifo, "go\n").unwrap();
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.configure(UNITS[0], None);
    }
}
