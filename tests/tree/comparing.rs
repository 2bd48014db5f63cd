//! Whether differences are found at all: by the comparer, on which the other tests rely, and by `tree compare`.

use std::fs;
use std::os::unix::fs::{FileExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FileType, makedev};

use crate::comparer::Comparer;
use crate::program::tree;
use crate::sample::{
    acl, chattr, chmod, flip_bit, node, noise, sample, set, set_time, with_times_kept,
};
use crate::volume::{KINDS, apart, tool, volume};

struct Mutation {
    what: &'static str,
    change: fn(&Path),
    /// What the comparer has to say, whole: path and aspect of each difference.
    found: &'static [(&'static str, &'static str)],
    /// Whether it is part of a listing, and so `tree compare` has to find it.
    listed: bool,
}

const fn mutation(
    what: &'static str,
    found: &'static [(&'static str, &'static str)],
    change: fn(&Path),
) -> Mutation {
    Mutation {
        what,
        change,
        found,
        listed: true,
    }
}

const fn unlisted(
    what: &'static str,
    found: &'static [(&'static str, &'static str)],
    change: fn(&Path),
) -> Mutation {
    Mutation {
        what,
        change,
        found,
        listed: false,
    }
}

fn unset(path: &Path, name: &str) {
    rustix::fs::lremovexattr(path, name).unwrap();
}

/// Makes `path` something else.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn punch(path: &Path, from: u64, length: u64) {
    let range = ["-p", "-o", &from.to_string(), "-l", &length.to_string()];
    tool(Command::new("fallocate").args(range).arg(path));
}

const MUTATIONS: &[Mutation] = &[
    mutation(
        "a bit",
        &[("file", "content"), ("folder/below/file again", "content")],
        |at| flip_bit(&at.join("file"), 19_999),
    ),
    mutation(
        "a bit between holes",
        &[("folder/sparse", "content")],
        |at| flip_bit(&at.join("folder/sparse"), 512 << 10),
    ),
    mutation(
        "shorter",
        &[
            ("folder/small", "size"),
            ("folder/small", "content"),
            ("folder/small", "holes"),
        ],
        |at| {
            fs::File::options()
                .write(true)
                .open(at.join("folder/small"))
                .unwrap()
                .set_len(4)
                .unwrap()
        },
    ),
    mutation("longer by a hole", &[("folder/hole", "size")], |at| {
        fs::File::options()
            .write(true)
            .open(at.join("folder/hole"))
            .unwrap()
            .set_len(1 << 17)
            .unwrap()
    }),
    unlisted("a hole that is zeros", &[("folder/hole", "holes")], |at| {
        fs::File::options()
            .write(true)
            .open(at.join("folder/hole"))
            .unwrap()
            .write_all_at(&[0; 4096], 8192)
            .unwrap();
    }),
    unlisted("zeros that are a hole", &[("zeros", "holes")], |at| {
        punch(&at.join("zeros"), 4096, 4096)
    }),
    mutation(
        "data that is a hole",
        &[("folder/sparse", "content"), ("folder/sparse", "holes")],
        |at| punch(&at.join("folder/sparse"), 512 << 10, 4096),
    ),
    mutation("a mode", &[("folder/small", "mode")], |at| {
        chmod(&at.join("folder/small"), 0o645)
    }),
    mutation(
        "setuid",
        &[("file", "mode"), ("folder/below/file again", "mode")],
        |at| chmod(&at.join("file"), 0o2755),
    ),
    mutation("sticky", &[("folder", "mode")], |at| {
        chmod(&at.join("folder"), 0o2770)
    }),
    mutation("mode of the root", &[(".", "mode")], |at| chmod(at, 0o700)),
    mutation("mode of a pipe", &[("fifo", "mode")], |at| {
        chmod(&at.join("fifo"), 0o600)
    }),
    mutation("user", &[("folder/small", "owner")], |at| {
        lchown(at.join("folder/small"), Some(1), None).unwrap()
    }),
    mutation("group of a folder", &[("folder/below", "owner")], |at| {
        lchown(at.join("folder/below"), None, Some(1)).unwrap()
    }),
    mutation("group of a link", &[("folder/link", "owner")], |at| {
        lchown(at.join("folder/link"), None, Some(1)).unwrap()
    }),
    mutation("owner of a device", &[("block", "owner")], |at| {
        lchown(at.join("block"), Some(1), Some(1)).unwrap()
    }),
    mutation("a nanosecond", &[("folder/small", "mtime")], |at| {
        set_time(&at.join("folder/small"), 1_500_000_002, 123_456_790)
    }),
    mutation("a nanosecond of a folder", &[("folder", "mtime")], |at| {
        set_time(&at.join("folder"), 1_500_000_017, 123_456_788)
    }),
    mutation("time of the root", &[(".", "mtime")], |at| {
        set_time(at, 1_400_000_000, 2)
    }),
    mutation("time of a link", &[("folder/link", "mtime")], |at| {
        set_time(&at.join("folder/link"), 0, 0)
    }),
    mutation("time of a pipe", &[("fifo", "mtime")], |at| {
        set_time(&at.join("fifo"), 0, 0)
    }),
    mutation("a target", &[("folder/link", "target")], |at| {
        replace(&at.join("folder/link"), |path| {
            symlink("no/such Target", path).unwrap();
            lchown(path, Some(1234), Some(70_000)).unwrap();
            set(path, "trusted.note", b"of a link");
        })
    }),
    mutation("a device's number", &[("block", "device")], |at| {
        replace(&at.join("block"), |path| {
            node(path, FileType::BlockDevice, makedev(7, 201))
        })
    }),
    mutation("a device's kind", &[("block", "type")], |at| {
        replace(&at.join("block"), |path| {
            node(path, FileType::CharacterDevice, makedev(7, 200))
        })
    }),
    mutation(
        "a link that is a file",
        &[
            ("absolute", "type"),
            ("absolute", "mode"),
            ("absolute", "size"),
            ("absolute", "content"),
            ("absolute", "holes"),
            ("absolute", "target"),
        ],
        |at| {
            replace(&at.join("absolute"), |path| fs::write(path, "/").unwrap());
        },
    ),
    mutation("a pipe that is gone", &[("fifo", "missing")], |at| {
        fs::remove_file(at.join("fifo")).unwrap()
    }),
    mutation(
        "a folder that is gone",
        &[("folder/below/empty", "missing")],
        |at| {
            with_times_kept(&[&at.join("folder/below")], || {
                fs::remove_dir(at.join("folder/below/empty")).unwrap()
            })
        },
    ),
    mutation("one too many", &[("new", "unexpected")], |at| {
        fs::write(at.join("new"), "").unwrap()
    }),
    mutation(
        "an odd name",
        &[("\\xfe", "unexpected"), ("\\xff\\n\\\\ ", "missing")],
        |at| {
            use std::os::unix::ffi::OsStrExt;
            let name = |bytes| at.join(std::ffi::OsStr::from_bytes(bytes));
            fs::rename(name(b"\xff\n\\ "), name(b"\xfe")).unwrap();
        },
    ),
    unlisted("a socket", &[("folder/socket", "unexpected")], |at| {
        with_times_kept(&[&at.join("folder")], || {
            node(&at.join("folder/socket"), FileType::Socket, 0)
        })
    }),
    mutation("a copy that was a hard link", &[("two", "links")], |at| {
        with_times_kept(&[&at.join("two")], || {
            replace(&at.join("two"), |path| fs::write(path, "linked").unwrap())
        })
    }),
    mutation(
        "a hard link that was a file",
        &[("other one", "links"), ("other two", "links")],
        |at| {
            for name in ["other one", "other two"] {
                replace(&at.join(name), |path| {
                    fs::hard_link(at.join("one"), path).unwrap()
                });
            }
            // So that only the groups differ.
            set_time(&at.join("one"), 1_500_000_005, 123_456_789);
        },
    ),
    unlisted("a name outside", &[("empty", "links")], |at| {
        fs::hard_link(at.join("empty"), at.with_file_name("outside")).unwrap()
    }),
    mutation(
        "an attribute missing",
        &[("file", "xattrs"), ("folder/below/file again", "xattrs")],
        |at| unset(&at.join("file"), "user.note"),
    ),
    mutation("an attribute more", &[("char", "xattrs")], |at| {
        set(&at.join("char"), "trusted.new", b"")
    }),
    mutation("an attribute of the root", &[(".", "xattrs")], |at| {
        set(at, "user.root", b"Root")
    }),
    mutation("an attribute of a folder", &[("folder", "xattrs")], |at| {
        set(&at.join("folder"), "trusted.note", &noise(499))
    }),
    mutation(
        "an attribute of a link",
        &[("folder/link", "xattrs")],
        |at| unset(&at.join("folder/link"), "trusted.note"),
    ),
    mutation("an attribute of a pipe", &[("fifo", "xattrs")], |at| {
        set(&at.join("fifo"), "trusted.note", b"")
    }),
    mutation(
        "a security attribute",
        &[("folder/small", "xattrs")],
        |at| unset(&at.join("folder/small"), "security.note"),
    ),
    mutation("a capability", &[("folder/capable", "xattrs")], |at| {
        unset(&at.join("folder/capable"), "security.capability")
    }),
    mutation("an ACL", &[("folder/listed", "xattrs")], |at| {
        set(
            &at.join("folder/listed"),
            "system.posix_acl_access",
            &acl(4),
        )
    }),
    mutation("a default ACL", &[("folder/below", "xattrs")], |at| {
        unset(&at.join("folder/below"), "system.posix_acl_default")
    }),
    unlisted("a flag of a file", &[("folder/small", "flags")], |at| {
        chattr("-d", &at.join("folder/small"))
    }),
    unlisted(
        "a flag of a folder",
        &[("folder/below/empty", "flags")],
        |at| chattr("+d", &at.join("folder/below/empty")),
    ),
];

/// The sample, with what only some of the mutations need.
fn tree_at(path: &Path) {
    sample(path);
    fs::write(path.join("zeros"), [0; 16_384]).unwrap();
    for name in ["one", "other one", "zeros"] {
        set_time(&path.join(name), 1_500_000_005, 123_456_789);
    }
    set_time(path, 1_400_000_000, 1);
}

fn remove(path: &Path) {
    tool(
        Command::new("rm")
            .arg("-rf")
            .arg(path)
            .arg(path.with_file_name("outside")),
    );
}

#[test]
fn every_kind_of_difference_is_found() {
    apart(|folder| {
        let mut comparer = Comparer::start();
        for kind in KINDS {
            let at = volume(folder, kind, 400);
            let (want, have) = (at.join("want"), at.join("have"));
            tree_at(&want);
            for mutation in MUTATIONS {
                tree_at(&have);
                let (inside, socket) = (have.join("folder"), have.join("folder/socket"));
                with_times_kept(&[&inside], || fs::remove_file(socket).unwrap());
                comparer.insist_equal(&want, &have);
                let compared = || tree(["compare".as_ref(), want.as_os_str(), have.as_os_str()]);
                compared().exits(0);
                // All but what the mutation is about stays as it was.
                let mutated: Vec<_> = mutation
                    .found
                    .iter()
                    .map(|(path, _)| have.join(path))
                    .collect();
                let mut kept: Vec<&Path> = Vec::new();
                if mutation.found.iter().all(|(_, aspect)| *aspect != "mtime") {
                    kept.extend(mutated.iter().map(|path| path.as_path()));
                    kept.push(&have);
                    kept.push(mutated[0].parent().unwrap());
                }
                with_times_kept(&kept, || (mutation.change)(&have));
                let found = comparer.differences(&want, &have);
                let found: Vec<_> = found.iter().map(|one| (&*one.path, &*one.aspect)).collect();
                assert_eq!(found, mutation.found, "{} on {kind}", mutation.what);
                let outcome = compared().exits(if mutation.listed { 5 } else { 0 });
                assert_eq!(outcome.stderr, "", "{} on {kind}", mutation.what);
                remove(&have);
            }
        }
    });
}

#[test]
fn a_flag_of_one_file_system_alone_is_compared_there() {
    apart(|folder| {
        let mut comparer = Comparer::start();
        let at = volume(folder, "btrfs", 400);
        for name in ["want", "have"] {
            fs::create_dir(at.join(name)).unwrap();
            fs::write(at.join(name).join("file"), "").unwrap();
            set_time(&at.join(name).join("file"), 0, 0);
            set_time(&at.join(name), 0, 0);
        }
        chattr("+C", &at.join("want/file"));
        let found = comparer.differences(&at.join("want"), &at.join("have"));
        let found: Vec<_> = found.iter().map(|one| (&*one.path, &*one.aspect)).collect();
        assert_eq!(found, [("file", "flags")]);
    });
}
