//! Which logical volume a block device is: `/sys/dev/block`.

use std::path::Path;

use super::names;
use crate::Result;
use crate::mounts::{self, Mount};
use crate::store::read_if_there;

/// A logical volume.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    pub vg: String,
    pub uuid: String,
}

/// What the device `number`, as `major:minor`, is; `None` where it is something else.
pub fn of(number: &str) -> Result<Option<Device>> {
    let said = |name: &str| -> Result<Option<String>> {
        let path = Path::new("/sys/dev/block")
            .join(number)
            .join("dm")
            .join(name);
        let text = read_if_there(&path)?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
    };
    let uuid = said("uuid")?.and_then(|uuid| names::uuid(&uuid));
    let vg = said("name")?.and_then(|name| names::group(&name));
    Ok(vg.zip(uuid).map(|(vg, uuid)| Device { vg, uuid }))
}

/// What is mounted at `point`: the last of several. (What mounts on demand is not it.)
pub fn mounted(point: &Path) -> Result<Option<Mount>> {
    let all = mounts::read()?.into_iter();
    let mut here = all.filter(|mount| mount.point == point && mount.fstype != "autofs");
    Ok(here.next_back())
}
