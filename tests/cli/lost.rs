//! A catalog that is lost, or damaged, is rebuilt from what the hosts keep beside the snapshots.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::World;
use crate::mask::masked;

impl World {
    fn sets(&self) -> PathBuf {
        self.dir.path().join("state/sets")
    }

    fn manifest(&self, set: &str) -> PathBuf {
        self.sets().join(set).join("manifest.json")
    }

    /// The folder of a set's papers beside a broker's snapshot.
    fn papers(&self, broker: usize, set: &str) -> PathBuf {
        let name = format!("broker {broker}/.zeebe-snap/data/.zeebe-snap-{set}.papers");
        self.dir.path().join(name)
    }

    fn lose_the_catalog(&self) {
        fs::remove_dir_all(self.sets()).unwrap();
    }
}

/// Everything in a folder: its path, owner's and others' rights, and content.
fn all(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match meta.is_dir() {
            true => {
                found.extend(all(&path));
                Vec::new()
            }
            false => fs::read(&path).unwrap(),
        };
        found.push((path, meta.permissions().mode() & 0o7777, content));
    }
    found.sort();
    found
}

#[test]
fn a_lost_catalog_is_rebuilt_and_its_sets_are_as_good_as_before() {
    let world = World::down();
    world.run(&["backup"]);
    world.change(1, "changed since");
    world.run(&["backup"]);
    let newest = world.newest();
    for broker in 0..2 {
        let papers = world.papers(broker, &newest);
        assert_eq!(fs::metadata(&papers).unwrap().mode() & 0o777, 0o700);
        for (path, mode, _) in all(&papers) {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
    let before = all(&world.sets());
    let (list, show, verify) = (
        world.run(&["list"]),
        world.run(&["show", "latest", "--json"]),
        world.run(&["verify", "latest", "--json"]),
    );
    world.lose_the_catalog();
    assert_eq!(world.run(&["list"]), "There are no sets.\n---\n[exit 0]");
    world.shows(&[
        ("lost status", &["status"]),
        ("lost status json", &["status", "--json"]),
        (
            "lost recover dry run",
            &["recover", "--catalog", "--dry-run"],
        ),
        (
            "lost recover dry run json",
            &["recover", "--catalog", "--dry-run", "--json"],
        ),
    ]);
    assert!(!world.sets().exists());
    world.shows(&[
        ("lost recover", &["recover", "--catalog"]),
        ("lost recover again", &["recover", "--catalog"]),
    ]);
    assert_eq!(all(&world.sets()), before);
    assert_eq!(world.run(&["list"]), list);
    assert_eq!(world.run(&["show", "latest", "--json"]), show);
    assert_eq!(world.run(&["verify", "latest", "--json"]), verify);
    world.lose_the_catalog();
    world.shows(&[("lost recover json", &["recover", "--catalog", "--json"])]);
    assert_eq!(all(&world.sets()), before);
    world.change(1, "changed again");
    let said = world.run(&["restore", "latest", "--no-start", "--yes"]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    assert_eq!(world.data(1), "changed since");
    for set in [newest, world.oldest()] {
        let said = world.run(&["forget", &set, "--yes"]);
        assert!(said.ends_with("[exit 0]"), "{said}");
    }
    world.run(&["release", "--all", "--yes"]);
    for broker in 0..2 {
        let store = format!("broker {broker}/.zeebe-snap");
        assert!(!world.dir.path().join(store).exists());
    }
}

/// The next set is the newest, whatever the clock says and whoever knows of the others.
#[test]
fn a_set_of_a_lost_catalog_still_has_its_id() {
    let world = World::down();
    world.run(&["backup"]);
    let first = world.newest();
    fs::remove_dir_all(world.dir.path().join("state")).unwrap();
    let later = "20990101T000000Z";
    for broker in 0..2 {
        let store = world.papers(broker, &first);
        let store = store.parent().unwrap();
        for entry in fs::read_dir(store).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .replace(&first, later);
            fs::rename(&path, store.join(name)).unwrap();
        }
        let side = store.join(format!("zeebe-snap-{later}.json"));
        let text = fs::read_to_string(&side).unwrap();
        fs::write(&side, text.replace(&first, later)).unwrap();
    }
    world.run(&["backup"]);
    assert_eq!(world.newest(), "20990101T000001Z");
}

/// What is spoilt, and why the set is not taken in.
type Spoilt = (&'static str, fn(&World, &str));

const SPOILT: [Spoilt; 9] = [
    ("a copy is gone", |world, set| {
        fs::remove_file(world.papers(1, set).join("manifest.json")).unwrap();
    }),
    ("copies differ", |world, set| {
        let path = world.papers(1, set).join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("8.5.8", "8.5.7")).unwrap();
    }),
    ("copies are cut", |world, set| {
        for broker in 0..2 {
            let path = world.papers(broker, set).join("manifest.json");
            cut(&path);
        }
    }),
    ("copies are newer", |world, set| {
        for broker in 0..2 {
            let path = world.papers(broker, set).join("manifest.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
        }
    }),
    ("a snapshot is gone", |world, _| {
        fs::remove_dir_all(world.snapshot_of(0)).unwrap();
    }),
    ("a snapshot is another", |world, set| {
        for broker in 0..2 {
            let path = world.papers(broker, set).join("manifest.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(
                &path,
                text.replace("\"identity\": \"", "\"identity\": \"not "),
            )
            .unwrap();
        }
    }),
    ("a listing is damaged", |world, set| {
        let path = world.papers(1, set).join("node-1-entries.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("segment", "tnemges")).unwrap();
    }),
    ("a listing is gone", |world, set| {
        fs::remove_file(world.papers(1, set).join("node-1-entries.jsonl")).unwrap();
    }),
    ("a config file is another", |world, set| {
        fs::write(
            world
                .papers(0, set)
                .join("node-0-config-0-application.yaml"),
            "x",
        )
        .unwrap();
    }),
];

#[test]
fn what_cannot_be_taken_in_is_named_and_can_be_forgotten() {
    for (why, spoil) in SPOILT {
        let world = World::down();
        world.run(&["backup"]);
        let set = world.newest();
        world.lose_the_catalog();
        spoil(&world, &set);
        let said = world.run(&["recover", "--catalog"]);
        insta::assert_snapshot!(format!("not taken in: {why}"), masked(&said));
        assert!(said.ends_with("[exit 1]"), "{why}: {said}");
        assert_eq!(
            world.run(&["list"]),
            "There are no sets.\n---\n[exit 0]",
            "{why}"
        );
        let said = world.run(&["status"]);
        assert!(said.contains(&set), "{why}: {said}");
        let said = world.run(&["forget", &set, "--yes"]);
        assert!(said.ends_with("[exit 0]"), "{why}: {said}");
        for broker in 0..2 {
            let store = world
                .dir
                .path()
                .join(format!("broker {broker}/.zeebe-snap"));
            assert!(!store.exists(), "{why}");
        }
        assert!(!world.run(&["status"]).contains(&set), "{why}");
    }
}

/// Before what differs in length from run to run.
fn cut(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let end = text.find("\"members\"").unwrap() + 9;
    fs::write(path, &text[..end]).unwrap();
}

/// What becomes of a manifest, and what is said of it.
type Damage = (&'static str, fn(&Path));

const DAMAGE: [Damage; 5] = [
    ("cut", |path| {
        cut(path);
    }),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("garbage", |path| {
        fs::write(path, b"\xff\xfe\x00{{{").unwrap()
    }),
    ("newer", |path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
    }),
    ("of another set", |path| {
        let text = fs::read_to_string(path).unwrap();
        let set = path
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        fs::write(path, text.replace(set, "20200101T000000Z")).unwrap();
    }),
];

#[test]
fn a_damaged_set_is_named_others_stay_usable_and_it_is_rebuilt() {
    let world = World::down();
    world.run(&["backup"]);
    let older = world.newest();
    world.change(0, "changed since");
    world.run(&["backup"]);
    let set = world.newest();
    let good = all(&world.sets());
    for (number, (what, damage)) in DAMAGE.into_iter().enumerate() {
        damage(&world.manifest(&set));
        let spoilt = all(&world.sets().join(&set));
        world.shows(&[
            (&format!("damaged list, {what}"), &["list"]),
            (&format!("damaged status, {what}"), &["status"]),
            (
                &format!("damaged restore, {what}"),
                &["restore", "latest", "--no-start", "--yes"],
            ),
        ]);
        assert_eq!(world.data(0), "changed since");
        for verb in ["show", "verify"] {
            let said = world.run(&[verb, &older]);
            assert!(said.ends_with("[exit 0]"), "{what}: {said}");
            let said = world.run(&[verb, &set]);
            assert!(said.contains("recover --catalog"), "{what}: {said}");
        }
        world.shows(&[(
            &format!("damaged recover, {what}"),
            &["recover", "--catalog"],
        )]);
        // What was there is moved, not deleted.
        let aside = world.sets().join(format!("{set}.damaged-{}", number + 1));
        let contents = |all: Vec<(PathBuf, u32, Vec<u8>)>| -> Vec<Vec<u8>> {
            all.into_iter().map(|(_, _, content)| content).collect()
        };
        assert_eq!(contents(all(&aside)), contents(spoilt), "{what}");
        let mut now = all(&world.sets());
        now.retain(|(path, ..)| !path.to_str().unwrap().contains("damaged"));
        assert_eq!(now, good, "{what}");
    }
    let said = world.run(&["verify", "latest"]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    // Not only the manifest can be damaged.
    let listing = world.sets().join(&set).join("node-1-entries.jsonl");
    fs::write(&listing, "").unwrap();
    world.shows(&[
        ("damaged listing, verify", &["verify", "latest"]),
        (
            "damaged listing, restore",
            &["restore", "latest", "--no-start", "--yes"],
        ),
        ("damaged listing, recover", &["recover", "--catalog"]),
        ("damaged listing, verify again", &["verify", "latest"]),
    ]);
}

/// What a person wanted destroyed does not come back.
#[test]
fn a_set_that_is_half_forgotten_is_not_taken_in_again() {
    let world = World::down();
    world.run(&["backup"]);
    let set = world.newest();
    let forgotten = world.manifest(&set).with_file_name("forgotten.json");
    fs::rename(world.manifest(&set), &forgotten).unwrap();
    for content in [None, Some("garbage")] {
        if let Some(content) = content {
            fs::write(&forgotten, content).unwrap();
        }
        let said = world.run(&["recover", "--catalog"]);
        assert!(said.contains("lost nothing"), "{said}");
        assert_eq!(world.run(&["list"]), "There are no sets.\n---\n[exit 0]");
        assert!(world.run(&["status"]).contains("half forgotten"));
    }
    let said = world.run(&["forget", &set, "--yes"]);
    assert!(said.ends_with("[exit 0]"), "{said}");
    assert!(!world.dir.path().join("broker 0/.zeebe-snap").exists());
    assert!(!world.run(&["status"]).contains(&set));
}
