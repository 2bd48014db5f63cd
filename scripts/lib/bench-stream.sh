# shellcheck shell=bash disable=SC2154 # rig, runs, snap and repository are those of scripts/bench
# Sourced by scripts/bench: a snapshot of a tree of 2 GiB and 30,000 entries (scripts/lib/make-tree) sent to a second volume on
# the same host, all of it and what changed in it, warm, the target synced. Against the bare pipe of the file system's own
# tools. The runs of each side are in turn. To reach: 1.1 of its time.
#
# A file system is three functions: stream_KIND_make makes both volumes, and of the tree the snapshots zeebe-snap-1 and, after
# 300 MiB and some times were changed, zeebe-snap-2, as a backup leaves them; it sets $data and $place, which are those of
# `stream send`. stream_KIND_bare NAME sends one by the bare tools, from zeebe-snap-1 on if it is the second. stream_KIND_away
# NAME removes what landed, by either.
#
# ZFS is measured where the kernel has it (scripts/vm); where that is emulated, only the ratio says something. Two cores, as here:
# on one alone each process in a pipe takes its time from the others.

stream_btrfs_make() {
  volume btrfs
  # The volume that is made next has that name.
  umount "$rig/btrfs"
  mv "$rig/btrfs.image" "$rig/target.image"
  mv "$rig/btrfs" "$rig/target"
  mount -o loop "$rig/target.image" "$rig/target"
  volume btrfs
  data=$rig/btrfs/data
  place=$rig/target/place
  store=$rig/btrfs/.zeebe-snap/data
  mkdir -p "$store" "$rig/target/bare"
  btrfs -q subvolume create "$data"
  rig_run "$repository/scripts/lib/make-tree" "$data/tree" --plain >/dev/null || fail "the tree could not be made"
  rm -rf "$data/tree/deep"
  local uuid name
  uuid=$(btrfs subvolume show "$data" | awk '$1 == "UUID:" { print $2 }')
  for name in zeebe-snap-1 zeebe-snap-2; do
    jq -cn --arg uuid "$uuid" '{ format: 1, parent_uuid: $uuid, label: {} }' >"$store/$name.json"
    btrfs -q subvolume snapshot -r "$data" "$store/$name"
    dd if=/dev/urandom of="$data/tree/changed" bs=1M count=300 status=none
    find "$data/tree" -maxdepth 3 -name '*1' -type f -exec touch {} +
  done
  sync -f "$data"
}

stream_btrfs_bare() {
  local base=()
  [[ $1 == zeebe-snap-1 ]] || base=(-p "$store/zeebe-snap-1")
  btrfs send -q "${base[@]}" "$store/$1" | btrfs receive -q "$rig/target/bare"
  sync -f "$rig/target"
}

stream_btrfs_away() {
  local name=$1 where
  for where in "$rig/target/bare" "$place"; do
    [[ ! -d $where/$name ]] || btrfs -q subvolume delete "$where/$name"
  done
  rm -f "$place/$name.json" "$place/$name.seal"
  btrfs subvolume sync "$rig/target" >/dev/null
  sync -f "$rig/target"
}

stream_zfs_make() {
  local name guid
  truncate -s 4G "$rig/zeebesnaptest-from" "$rig/zeebesnaptest-to"
  for name in from to; do
    zpool create -m none -O compression=lz4 -O acltype=posix -O xattr=sa "zeebesnaptest-bench-$name" "$rig/zeebesnaptest-$name" ||
      fail "no pool could be made"
  done
  data=$rig/zfs
  place=zeebesnaptest-bench-to/place
  zfs create -o "mountpoint=$data" zeebesnaptest-bench-from/data
  rig_run "$repository/scripts/lib/make-tree" "$data/tree" --plain >/dev/null || fail "the tree could not be made"
  rm -rf "$data/tree/deep"
  guid=$(zfs get -Hp -o value guid zeebesnaptest-bench-from/data)
  for name in zeebe-snap-1 zeebe-snap-2; do
    zfs snapshot -o 'zeebe-snap:label={}' -o "zeebe-snap:of={\"$guid\":{}}" "zeebesnaptest-bench-from/data@$name"
    dd if=/dev/urandom of="$data/tree/changed" bs=1M count=300 status=none
    find "$data/tree" -maxdepth 3 -name '*1' -type f -exec touch {} +
  done
  zpool sync
}

stream_zfs_bare() {
  local base=()
  [[ $1 == zeebe-snap-1 ]] || base=(-i @zeebe-snap-1)
  zfs send -w "${base[@]}" "zeebesnaptest-bench-from/data@$1" | zfs receive -u -o canmount=noauto zeebesnaptest-bench-to/bare
  zpool sync zeebesnaptest-bench-to
}

stream_zfs_away() {
  local pool=zeebesnaptest-bench-to where
  for where in "$pool/bare" "$place/volume"; do
    if [[ $1 == zeebe-snap-1 ]]; then
      is_there "$where" && zfs destroy -r "$where"
    else
      is_there "$where@$1" && zfs destroy "$where@$1" && zfs rollback "$where@zeebe-snap-1"
    fi
  done
  # Each side has a base of its own.
  [[ $1 == zeebe-snap-1 ]] || is_there "$pool/bare@zeebe-snap-1" || stream_zfs_bare zeebe-snap-1
  zpool wait -t free "$pool"
  zpool sync "$pool"
}

is_there() { zfs list -H -o name "$1" >/dev/null 2>&1; }

ours() { "${snap[@]}" stream send "$data" "$1" --to "$place"; }

[[ $what == stream-zfs ]] || printf 'volume  what     whose        min  median     max   (ms, %s runs)   by the bare pipe (to reach)\n' "$runs"
kinds=(btrfs)
[[ $what == stream ]] || kinds=(zfs)
for kind in "${kinds[@]}"; do
  "stream_${kind}_make"
  bare() { "stream_${kind}_bare" "$1"; }
  for part in all changed; do
    name=zeebe-snap-1
    [[ $part == all ]] || name=zeebe-snap-2
    ours "$name" >/dev/null || fail "$name could not be sent" # warms the cache
    sides=(ours bare)
    for ((run = 1; run <= runs; run++)); do
      for side in "${sides[@]}"; do
        "stream_${kind}_away" "$name"
        timed "$rig/$kind.$part.$side" "$side" "$name"
      done
      echo "bench: $part of $kind $run of $runs: $(last "$rig/$kind.$part.ours") ms, bare $(last "$rig/$kind.$part.bare") ms" >&2
      sides=("${sides[@]:1}" "${sides[0]}")
    done
    printf '%-6s  %-7s  zeebe-snap %s                   %s (1.1)\n' "$kind" "$part" \
      "$(spread <"$rig/$kind.$part.ours")" "$(ratio "$rig/$kind.$part.ours" "$rig/$kind.$part.bare")"
    printf '%-6s  %-7s  bare       %s\n' "" "" "$(spread <"$rig/$kind.$part.bare")"
    # One base, and the same for both sides.
    "stream_${kind}_away" "$name"
    ours "$name" >/dev/null || fail "$name could not be sent"
  done
done
if [[ $what == stream ]]; then
  ZEEBE_SNAP_BENCH_PROGRAM=${snap[0]} "$repository/scripts/vm" --cpus 2 --memory 14G "$repository/scripts/bench" stream-zfs "$runs" ||
    fail "ZFS could not be measured"
fi
