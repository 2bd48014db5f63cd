//! Names of logical volumes, and of the devices that device-mapper has for them.
//!
//! A device's name has the group's and the volume's, each with its hyphens doubled, and both must fit into 127 characters.
//! LVM looks at that only when it activates: `lvrename` gives longer ones (2.03.16, tried). So what would not fit, or is of a
//! form that LVM keeps for itself, is replaced by a hash; tags say what it stands for.

use std::path::{Path, PathBuf};

/// What the two names of a device may have, with room for a suffix of LVM's own ("-real").
const LONGEST: usize = 121;

/// Of a name that is in use in between (see `renaming`).
const BETWEEN: usize = ".between".len();

/// How much of a volume's uuid its snapshots' names end with.
const SHORT: usize = 8;

/// With hyphens doubled.
fn doubled(name: &str) -> usize {
    name.len() + name.matches('-').count()
}

/// The name in the group `vg` of what is called `name` among what there is of the volume `lineage`.
pub fn of(vg: &str, name: &str, lineage: &str) -> String {
    let short: String = lineage.chars().filter(|c| *c != '-').take(SHORT).collect();
    let plain = format!("{name}.{short}");
    match is_free(vg, &plain) {
        true => plain,
        false => format!("{}.{short}", hashed(name)),
    }
}

/// The name in the group `vg` of what lands as `name` in the place `place`.
pub fn landed(vg: &str, name: &str, place: &str) -> String {
    let plain = format!("{name}.{place}");
    match is_free(vg, &plain) {
        true => plain,
        false => hashed(&plain),
    }
}

fn hashed(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("zs.{}", &hash[..16])
}

/// Whether LVM takes such a name. "snapshot…", "pvmove…" and "…_tmeta…" are its own, and there are more with every release
/// (lvm(8)).
fn is_free(vg: &str, name: &str) -> bool {
    let mut words = ["snapshot", "pvmove"].iter();
    let is_lvms = name.contains('_') || words.any(|word| name.starts_with(word));
    !is_lvms && fits(vg, name)
}

fn fits(vg: &str, name: &str) -> bool {
    doubled(vg) + 1 + doubled(name) + BETWEEN <= LONGEST
}

/// Whether all names fit into the group.
pub fn fit(vg: &str) -> bool {
    fits(vg, &of(vg, "_", "0123-4567-8"))
}

/// What was called `name`, if it can be seen.
pub fn plain<'a>(name: &'a str, lineage: &str) -> Option<&'a str> {
    let short = of("", "", lineage);
    name.strip_suffix(&short).filter(|name| !name.is_empty())
}

/// Without the brackets that `lvs` puts around a hidden one.
pub fn visible(name: &str) -> &str {
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.unwrap_or(name)
}

/// The group that a device is of by its name.
pub fn group(device: &str) -> Option<String> {
    let mut group = String::new();
    let mut rest = device;
    loop {
        let (before, after) = rest.split_once('-')?;
        group.push_str(before);
        match after.strip_prefix('-') {
            Some(after) => {
                group.push('-');
                rest = after;
            }
            None => return Some(group),
        }
    }
}

/// The name that device-mapper has for a part of the volume `name`: its thin pool's is "-tpool".
pub fn device(vg: &str, name: &str, suffix: &str) -> String {
    let double = |name: &str| name.replace('-', "--");
    format!("{}-{}{suffix}", double(vg), double(name))
}

/// Where it can be mounted from.
pub fn node(vg: &str, name: &str) -> PathBuf {
    Path::new("/dev").join(vg).join(name)
}

/// Where the device of that name is.
pub fn mapper(device: &str) -> PathBuf {
    Path::new("/dev/mapper").join(device)
}

/// The uuid as LVM writes it, of a device's: "LVM-", the group's, the volume's. `None` where it is no whole volume's.
pub fn uuid(device: &str) -> Option<String> {
    let both = device.strip_prefix("LVM-")?;
    let of_volume = both
        .get(32..)
        .filter(|uuid| uuid.len() == 32 && uuid.is_ascii())?;
    let mut parts = Vec::new();
    let mut rest = of_volume;
    for length in [6, 4, 4, 4, 4, 4, 6] {
        let (part, after) = rest.split_at(length);
        parts.push(part);
        rest = after;
    }
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGE: &str = "8jmwpe-t17B-kNiH-3VfS-4ehT-j97J-0QhqKd";

    #[test]
    fn a_name_says_what_it_is_of() {
        let name = of("vg0", "zeebe-snap-20261123T014500Z", LINEAGE);
        assert_eq!(name, "zeebe-snap-20261123T014500Z.8jmwpet1");
        assert_eq!(plain(&name, LINEAGE), Some("zeebe-snap-20261123T014500Z"));
        assert_eq!(plain("data", LINEAGE), None);
    }

    #[test]
    fn what_lvm_would_not_take_is_hashed() {
        let long = "a-".repeat(40);
        for name in ["snapshot-1", "pvmove", "x_tmeta", &long] {
            let hashed = of("vg0", name, LINEAGE);
            assert!(hashed.starts_with("zs.") && hashed.len() == 28, "{hashed}");
            assert_ne!(hashed, of("vg0", &format!("{name}x"), LINEAGE));
        }
        assert_eq!(
            landed("vg0", "zeebe-snap-1", "node-0"),
            "zeebe-snap-1.node-0"
        );
        for (name, place) in [("zeebe-snap-1", "node_0"), (&long, &long)] {
            let hashed = landed("vg0", name, place);
            assert!(hashed.starts_with("zs.") && hashed.len() == 19, "{hashed}");
            assert_ne!(hashed, landed("vg0", name, &format!("{place}x")));
        }
        let longest = "x".repeat(80);
        assert!(of("vg0", &longest, LINEAGE).starts_with(&longest));
        assert!(fit(&"x".repeat(84)) && !fit(&"x".repeat(85)));
        assert!(fit(&"-".repeat(42)) && !fit(&"-".repeat(43)));
    }

    /// /sys/dev/block/254:4/dm, Linux 6.1, LVM 2.03.16.
    #[test]
    fn reads_recorded_devices() {
        let uuid_of = |tail: &str| {
            uuid(&format!(
                "LVM-Yp01MzxyycmEhxbdQmXNWjXYZzSwkQh38jmwpet17BkNiH3VfS4ehTj97J0QhqKd{tail}"
            ))
        };
        assert_eq!(uuid_of("").as_deref(), Some(LINEAGE));
        assert_eq!(uuid_of("-tpool"), None);
        assert_eq!(uuid("CRYPT-LUKS2-0123"), None);
        assert_eq!(
            group("zeebesnaptest--x-data").as_deref(),
            Some("zeebesnaptest-x")
        );
        assert_eq!(group("luks"), None);
        assert_eq!(
            device("zeebesnaptest-x", "pool", "-tpool"),
            "zeebesnaptest--x-pool-tpool"
        );
    }
}
