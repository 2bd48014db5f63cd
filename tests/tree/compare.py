#!/usr/bin/env python3
"""Says in what two directory trees differ. It shares no code with the program under test, and no way of working either:
it goes through a tree by chdir, where the program works by descriptors.

    compare.py WANT HAVE      one line per difference; exit code 0 if there is none, 5 if there are
    compare.py --serve        one JSON request per line on standard input, one JSON answer per line on standard output:
                              {"want": DIR, "have": DIR}  -> [[PATH, ASPECT, TEXT], ...]
                              {"fingerprint": DIR}        -> text that changes with anything in the tree, ctime included

HAVE is to be a clone of WANT: sockets of WANT are not wanted, and every hard link of HAVE is to be inside it.
It needs root, to look into everything. Paths are shown as Python shows bytes.
"""

import array
import errno
import fcntl
import hashlib
import json
import os
import stat
import struct
import sys

GETFLAGS, FIEMAP = 0x80086601, 0xC020660B
UNWRITTEN = 0x800
BLOCK = 1 << 16
ZEROS = bytes(BLOCK)

# Inode flags that a user can set (chattr), by file system; what only one of two has cannot be kept between them.
SECRM, UNRM, COMPR, SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME = (1 << bit for bit in range(8))
NOCOMP, JOURNAL, NOTAIL, DIRSYNC, TOPDIR, NOCOW, PROJINHERIT = (
    0x400, 0x4000, 0x8000, 0x10000, 0x20000, 0x800000, 0x20000000)
EVERYWHERE = SYNC | IMMUTABLE | APPEND | NODUMP | NOATIME
FLAGS = {
    "ext4": EVERYWHERE | SECRM | UNRM | DIRSYNC | TOPDIR | JOURNAL | NOTAIL | PROJINHERIT,
    "xfs": EVERYWHERE | PROJINHERIT,
    "btrfs": EVERYWHERE | DIRSYNC | COMPR | NOCOMP | NOCOW,
}

# XFS lists ACLs once more under these names.
ACL_AGAIN = {"trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT"}

TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character device", stat.S_IFBLK: "block device", stat.S_IFSOCK: "socket",
}


def file_system(path):
    """The type of the file system that holds path."""
    path, found = os.path.realpath(os.fsencode(path)), (b"", "")
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            before, after = line.split(b" - ")
            at = before.split()[4].decode("unicode_escape").encode("latin-1")
            if (path == at or path.startswith(at.rstrip(b"/") + b"/")) and len(at) >= len(found[0]):
                found = (at, after.split()[0].decode())
    return found[1]


def preallocated(fd):
    """Whether some of a file is preallocated and not written; said, too, of one with very many extents."""
    ask = bytearray(struct.pack("=QQIIII", 0, (1 << 64) - 1, 0, 0, 256, 0) + bytes(256 * 56))
    try:
        fcntl.ioctl(fd, FIEMAP, ask)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            return False
        raise
    count = struct.unpack_from("=I", ask, 20)[0]
    flags = [struct.unpack_from("=I", ask, 32 + 56 * number + 40)[0] for number in range(count)]
    return any(flag & UNWRITTEN for flag in flags) or count == 256


def forget(fd):
    """What was read of a preallocated range counts as data for as long as it is in the page cache."""
    if preallocated(fd):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def data_map(fd, size):
    """Where a file has data, as [begin, end] pairs; all else is holes."""
    forget(fd)
    ranges, at = [], 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        ranges.append([begin, at])
    return ranges


def content(fd, ranges):
    """A hash of a file's bytes. Blocks of zeros do not count, be they in a hole or not: the size is compared too."""
    total, done = hashlib.sha256(), 0
    for begin, end in ranges:
        at = max(begin - begin % BLOCK, done)
        while at < end:
            block = os.pread(fd, BLOCK, at)
            if not block:
                break
            if block != ZEROS[:len(block)]:
                total.update(b"%d:%d:" % (at, len(block)))
                total.update(block)
            at += BLOCK
            done = at
    return total.hexdigest()


def inside_file(name):
    """What is to be known of an open file or folder."""
    about = os.lstat(name)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME | os.O_NONBLOCK)
    try:
        found, flags = {}, array.array("L", [0])
        try:
            fcntl.ioctl(fd, GETFLAGS, flags)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise
        found["flags"] = flags[0] & 0xFFFFFFFF
        if stat.S_ISREG(about.st_mode):
            found["size"] = about.st_size
            found["holes"] = data_map(fd, about.st_size)
            found["content"] = content(fd, found["holes"])
            forget(fd)
        return found
    finally:
        os.close(fd)


def look(name, known):
    """All that is compared of one name in the current folder."""
    about = os.lstat(name)
    kind = stat.S_IFMT(about.st_mode)
    entry = {
        "type": TYPES[kind],
        "mode": "%04o" % stat.S_IMODE(about.st_mode),
        "owner": "%d:%d" % (about.st_uid, about.st_gid),
        "mtime": about.st_mtime_ns,
        "xattrs": {key: os.getxattr(name, key, follow_symlinks=False).hex()
                   for key in os.listxattr(name, follow_symlinks=False) if key not in ACL_AGAIN},
        "inode": (about.st_dev, about.st_ino, about.st_nlink),
        "ctime": about.st_ctime_ns,
    }
    if kind == stat.S_IFLNK:
        entry["target"] = os.readlink(name).hex()
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        entry["device"] = "%d:%d" % (os.major(about.st_rdev), os.minor(about.st_rdev))
    elif kind in (stat.S_IFREG, stat.S_IFDIR):
        inode = entry["inode"][:2]
        if kind == stat.S_IFREG and about.st_nlink > 1:
            if inode not in known:
                known[inode] = inside_file(name)
            entry.update(known[inode])
        else:
            entry.update(inside_file(name))
    return entry


def inventory(root):
    """Path (bytes) to what is there; the root is b"."."""
    back = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir(root)
        known = {}
        tree = {b".": look(b".", known)}
        # For each folder on the way down: its path, and what is still to be gone into. ".." leads back, at any depth.
        way = [(b"", here(b"", tree, known))]
        while way:
            path, below = way[-1]
            if below:
                name = below.pop()
                os.chdir(name)
                path = path + name + b"/"
                way.append((path, here(path, tree, known)))
            else:
                way.pop()
                if way:
                    os.chdir(b"..")
        return tree
    finally:
        os.fchdir(back)
        os.close(back)


def here(path, tree, known):
    """Puts all of the current folder into tree; gives its folders."""
    below = []
    with os.scandir(b".") as entries:
        names = [entry.name for entry in entries]
    for name in names:
        entry = tree[path + name] = look(name, known)
        if entry["type"] == "folder":
            below.append(name)
    return below


def groups(tree):
    """Inode to its names, for everything that has several names."""
    found = {}
    for path in sorted(tree):
        entry = tree[path]
        if entry["type"] != "folder" and entry["inode"][2] > 1:
            found.setdefault(entry["inode"], []).append(path)
    return found


def differences(want_root, have_root):
    want, have = inventory(want_root), inventory(have_root)
    # A flag that one of the two cannot have is not compared; nor is any where the file system is not known.
    flags = FLAGS.get(file_system(want_root), 0) & FLAGS.get(file_system(have_root), 0)
    found = []
    for path in sorted(want.keys() | have.keys()):
        one, other = want.get(path), have.get(path)
        if one and one["type"] == "socket":
            one = None
        if not one and not other:
            continue
        if not one or not other:
            found.append((path, "unexpected" if other else "missing", ""))
            continue
        for aspect in ("type", "mode", "owner", "mtime", "size", "content", "holes", "target", "device"):
            if one.get(aspect) != other.get(aspect):
                found.append((path, aspect, "%s, not %s" % (short(other.get(aspect)), short(one.get(aspect)))))
        if (one.get("flags", 0) ^ other.get("flags", 0)) & flags:
            found.append((path, "flags", "%#x, not %#x" % (other["flags"] & flags, one["flags"] & flags)))
        for key in sorted(one["xattrs"].keys() | other["xattrs"].keys()):
            if one["xattrs"].get(key) != other["xattrs"].get(key):
                text = "%s: %s, not %s" % (key, short(other["xattrs"].get(key)), short(one["xattrs"].get(key)))
                found.append((path, "xattrs", text))
    # A group is named by its first name in both trees.
    both = want.keys() & have.keys()
    sides = []
    for tree in (want, have):
        first = {}
        for names in groups(tree).values():
            names = [name for name in names if name in both]
            first.update((name, names[0]) for name in names if name != names[0])
        sides.append(first)
    for path in sorted(both):
        if sides[0].get(path) != sides[1].get(path):
            found.append((path, "links", "with %s, not with %s" % (sides[1].get(path), sides[0].get(path))))
    for inode, names in groups(have).items():
        if inode[2] != len(names):
            found.append((names[0], "links", "%d names, of which %d are in the tree" % (inode[2], len(names))))
    return found


def short(value):
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def shown(path):
    return repr(path)[2:-1]


def fingerprint(root):
    tree = inventory(root)
    return hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest()


def serve():
    for line in sys.stdin:
        request = json.loads(line)
        if "fingerprint" in request:
            answer = fingerprint(request["fingerprint"])
        else:
            answer = [(shown(path), *rest) for path, *rest in differences(request["want"], request["have"])]
        print(json.dumps(answer), flush=True)


if sys.argv[1:] == ["--serve"]:
    serve()
elif len(sys.argv) == 3:
    different = differences(*sys.argv[1:])
    for path, aspect, text in different:
        print("%s: %s: %s" % (shown(path), aspect, text))
    sys.exit(5 if different else 0)
else:
    sys.exit(__doc__)
