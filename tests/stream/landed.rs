//! What has landed is listed, sent on, and destroyed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};

use crate::World;
use crate::volume::{apart, names, tool, volume};
use crate::wait::until;

impl World {
    fn list(&self) -> String {
        self.run("list", &[self.place()])
    }

    fn destroy(&self, name: &str, more: &[&str]) -> String {
        self.run("destroy", &[&[self.place(), name], more].concat())
    }

    fn send_both(&self) {
        for name in ["zeebe-snap-1", "zeebe-snap-2"] {
            let said = self.run("send", &[name, "--to", self.place()]);
            assert!(said.ends_with("[exit 0]"), "{said}");
        }
    }
}

#[test]
fn what_has_landed_is_listed() {
    apart(|dir| {
        let world = World::new(dir);
        insta::assert_snapshot!("list of nothing", world.list());
        world.send_both();
        fs::remove_file(world.place.join("zeebe-snap-2.seal")).unwrap();
        fs::create_dir(world.place.join("theirs")).unwrap();
        insta::assert_snapshot!("list", world.list());
        let said = world.run("list", &[world.place(), "--json"]);
        insta::assert_snapshot!("list json", said);
    });
}

#[test]
fn what_has_landed_is_destroyed_if_it_is_ours() {
    apart(|dir| {
        let world = World::new(dir);
        world.send_both();
        fs::create_dir(world.place.join("theirs")).unwrap();
        let before = names(&world.place);
        insta::assert_snapshot!("destroy of theirs", world.destroy("theirs", &["--yes"]));
        let said = world.destroy("zeebe-snap-3", &["--yes", "--json"]);
        insta::assert_snapshot!("destroy of what is not there json", said);
        let said = world.destroy("zeebe-snap-1", &[]);
        insta::assert_snapshot!("destroy with nobody to ask", said);
        let said = world.destroy("zeebe-snap-1", &["--dry-run"]);
        insta::assert_snapshot!("destroy dry run", said);
        let said = world.destroy("zeebe-snap-1", &["--dry-run", "--json"]);
        insta::assert_snapshot!("destroy dry run json", said);
        assert_eq!(names(&world.place), before);

        fs::remove_file(world.place.join("zeebe-snap-1.seal")).unwrap();
        let said = world.destroy("zeebe-snap-1", &["--yes", "--json"]);
        insta::assert_snapshot!("destroy of what was cut json", said);
        assert_eq!(world.received(&world.place, "zeebe-snap-2"), "two\n");
        insta::assert_snapshot!("destroy", world.destroy("zeebe-snap-2", &["--yes"]));
        assert_eq!(names(&world.place), ["theirs"]);
    });
}

#[test]
fn what_has_landed_is_sent_on() {
    apart(|dir| {
        let world = World::new(dir);
        world.send_both();
        fs::create_dir(dir.join("third")).unwrap();
        let on = volume(&dir.join("third"), "btrfs", 512).join("node 0");
        let to = ["--to", on.to_str().unwrap()];
        let send = |name: &str, more: &[&str]| {
            let mut send = world.send_from(&world.place, &[&[name], more].concat());
            world.said(&send.output().unwrap())
        };
        insta::assert_snapshot!("sent on", send("zeebe-snap-1", &to));
        let said = send("zeebe-snap-2", &[&to[..], &["--dry-run"]].concat());
        insta::assert_snapshot!("sent on dry run", said);
        let said = send("zeebe-snap-2", &to);
        assert!(said.ends_with("[exit 0]"), "{said}");
        for (name, content) in [("zeebe-snap-1", "one\n"), ("zeebe-snap-2", "two\n")] {
            assert_eq!(world.received(&on, name), content);
        }
        // It is the same there as at the first place, and so a base of what is sent from the data directory itself.
        world.take("zeebe-snap-3", "three\n");
        let said = world.run("send", &[&["zeebe-snap-3", "--json"], &to[..]].concat());
        assert!(said.contains("\"name\": \"zeebe-snap-2\""), "{said}");

        let file = File::create(dir.join("stream")).unwrap();
        let mut save = world.send_from(&world.place, &["zeebe-snap-1"]);
        assert!(save.stdout(file).status().unwrap().success());
        insta::assert_snapshot!("sent on, and not there", send("zeebe-snap-9", &to));
        fs::remove_file(world.place.join("zeebe-snap-2.seal")).unwrap();
        insta::assert_snapshot!("sent on, and cut", send("zeebe-snap-2", &to));
        fs::create_dir(world.place.join("theirs")).unwrap();
        insta::assert_snapshot!("sent on, and not ours", send("theirs", &to));
    });
}

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_place_is_changed_by_one_at_a_time() {
    apart(|dir| {
        let world = World::new(dir);
        let to = ["zeebe-snap-1", "--to", world.place()];
        let mut slow = world.stream("send", &[&to[..], &["--limit", "1"]].concat());
        let mut slow = Running(slow.stdout(Stdio::null()).spawn().unwrap());
        until("the first to have begun", || {
            assert_eq!(slow.0.try_wait().unwrap(), None);
            world.list().contains("zeebe-snap-1").then_some(())
        });
        let theirs = format!("(taken by pid {})", slow.0.id());
        let refused = |said: String| {
            let good = said.contains(&theirs) && said.ends_with("[exit 3]");
            assert!(good, "{said}");
        };
        refused(world.run("send", &to));
        refused(world.run("send", &["zeebe-snap-2", "--to", world.place()]));
        refused(world.destroy("zeebe-snap-1", &["--yes"]));
        // By whatever name.
        let link = dir.join("link");
        symlink(&world.place, &link).unwrap();
        for name in [link.to_str().unwrap(), &format!("{}/", world.place())] {
            refused(world.run("send", &["zeebe-snap-1", "--to", name]));
        }
        tool(Command::new("kill").args(["-INT", &slow.0.id().to_string()]));
        assert_eq!(slow.0.wait().unwrap().code(), Some(1));
        world.send_both();
    });
}
