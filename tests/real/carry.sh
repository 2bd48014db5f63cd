#!/bin/bash
# Run by carried.rs where the kernel has ZFS and device-mapper: takes the data folders of three brokers, in DIR/in-N.tar, onto a
# ZFS dataset, a thin and a thick logical volume, and does with zeebe-snap what an admin would: backs them up, loses them, and
# brings them back. What came back is in DIR/restored-N.tar. Then the pool and the group are lost, and the data on the dataset and
# the thin volume comes back out of what was sent to others; that is in DIR/extracted-N.tar.
#
#   carry.sh ZEEBE-SNAP DIR
set -euo pipefail
program=$1 dir=$2
rig=$(mktemp -d /tmp/zeebesnaptest-XXXXXX)
name=${rig##*/}

loops=()
close() {
  status=$?
  set +e
  trap '' INT TERM HUP
  for node in 2 1; do umount "$rig/srv/$node"; done
  zpool destroy -f "$name"
  zpool destroy -f "$name-other"
  vgremove -q -ff -y "$name" "$name-other" >/dev/null
  for loop in "${loops[@]}"; do losetup -d "$loop"; done
  rm -rf --one-file-system "$rig"
  exit $status
}
trap close EXIT

truncate -s 3G "$rig"/zeebesnaptest-{pool,other,new,group,other-group}
zpool create -m none "$name" "$rig/zeebesnaptest-pool"
zpool create -m none "$name-other" "$rig/zeebesnaptest-other"
# group NAME FILE: a volume group with a pool of thin volumes
group() {
  loops+=("$(losetup --find --show "$rig/$2")")
  vgcreate -q "$1" "${loops[-1]}"
  lvcreate -q -y -T -L 1G "$1/pool"
}
group "$name" zeebesnaptest-group
group "$name-other" zeebesnaptest-other-group
lvcreate -q -y -T "$name/pool" -V 600M -n thin
lvcreate -q -y -L 600M -n thick "$name"
mkdir -p "$rig/srv/1" "$rig/srv/2"
zfs create -o "mountpoint=$rig/srv/0" "$name/data"
mkfs.xfs -q "/dev/$name/thin"
mount "/dev/$name/thin" "$rig/srv/1"
mkfs.ext4 -q "/dev/$name/thick"
mount "/dev/$name/thick" "$rig/srv/2"

echo 'name = "carried"' >"$rig/cluster.toml"
for node in 0 1 2; do
  tar -C "$rig/srv/$node" --xattrs -xf "$dir/in-$node.tar"
  cat >>"$rig/cluster.toml" <<END
[[broker]]
node_id = $node
data = "$rig/srv/$node"
version = "8.5.8"
management = "http://127.0.0.$((node + 1)):9600"
service = { start = ["/bin/false"], log = "/dev/null" }
END
done

snap() {
  echo "+ zeebe-snap $*" >&2
  "$program" --cluster "$rig/cluster.toml" --state-dir "$rig/state" "$@"
}

# pack NODE NAME: what its data directory holds, into DIR/NAME-NODE.tar
pack() {
  tar -C "$rig/srv/$1" --xattrs --exclude=./.zeebe-snap --exclude=./lost+found -cf "$dir/$2-$1.tar" .
}

# listed NODE: everything below its data directory, each with its digest
listed() { snap tree digest --list "$rig/srv/$1" | tail -n +2; }

snap check
snap backup
snap verify latest
snapshot=zeebe-snap-$(snap list --json | jq -r '.sets[0].set')
places=("zfs:$name-other/carried" "lvm:$name-other/pool/carried")
for node in 0 1; do snap stream send "$rig/srv/$node" "$snapshot" --to "${places[node]}"; done
for node in 0 1 2; do
  find "$rig/srv/$node" -mindepth 1 -maxdepth 1 ! -name .zeebe-snap ! -name lost+found -exec rm -rf {} +
done
snap restore latest --yes --no-start
for node in 0 1 2; do pack "$node" restored; done
for node in 0 1; do listed "$node" >"$rig/restored-$node"; done

zpool destroy -f "$name"
umount "$rig/srv/1" "$rig/srv/2"
vgremove -q -ff -y "$name"
zpool create -m none "$name" "$rig/zeebesnaptest-new"
zfs create -o "mountpoint=$rig/srv/0" "$name/data"
lvcreate -q -y -T "$name-other/pool" -V 600M -n new
mkfs.ext4 -q "/dev/$name-other/new"
mount "/dev/$name-other/new" "$rig/srv/1"
for node in 0 1; do
  snap stream list "${places[node]}"
  snap stream extract "${places[node]}" "$snapshot" "$rig/srv/$node"
  listed "$node" | grep -v '"path":"lost+found"' | diff "$rig/restored-$node" -
  pack "$node" extracted
done
