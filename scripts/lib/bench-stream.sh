# shellcheck shell=bash disable=SC2154 # rig, runs, snap and repository are those of scripts/bench
# Sourced by scripts/bench: a snapshot of a tree of 2 GiB and 30,000 entries (scripts/lib/make-tree) sent to a second volume on
# the same host, all of it and what changed in it, warm, the target synced. Against the bare pipe of the file system's own
# tools. The runs of each side are in turn. To reach: 1.1 of its time.
#
# A file system is three functions: stream_KIND_make makes both volumes, and of the tree the snapshots zeebe-snap-1 and, after
# 300 MiB and some times were changed, zeebe-snap-2, as a backup leaves them; it sets $data and $place, which are those of
# `stream send`. stream_KIND_bare NAME sends one by the bare tools, from zeebe-snap-1 on if it is the second. stream_KIND_away
# NAME removes what landed, by either.

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

ours() { "${snap[@]}" stream send "$data" "$1" --to "$place"; }

printf 'volume  what     whose        min  median     max   (ms, %s runs)   by the bare pipe (to reach)\n' "$runs"
for kind in btrfs; do
  "stream_${kind}_make"
  bare() { "stream_${kind}_bare" "$1"; }
  for what in all changed; do
    name=zeebe-snap-1
    [[ $what == all ]] || name=zeebe-snap-2
    ours "$name" >/dev/null || fail "$name could not be sent" # warms the cache
    sides=(ours bare)
    for ((run = 1; run <= runs; run++)); do
      for side in "${sides[@]}"; do
        "stream_${kind}_away" "$name"
        timed "$rig/$kind.$what.$side" "$side" "$name"
      done
      echo "bench: $what of $kind $run of $runs: $(last "$rig/$kind.$what.ours") ms, bare $(last "$rig/$kind.$what.bare") ms" >&2
      sides=("${sides[@]:1}" "${sides[0]}")
    done
    printf '%-6s  %-7s  zeebe-snap %s                   %s (1.1)\n' "$kind" "$what" \
      "$(spread <"$rig/$kind.$what.ours")" "$(ratio "$rig/$kind.$what.ours" "$rig/$kind.$what.bare")"
    printf '%-6s  %-7s  bare       %s\n' "" "" "$(spread <"$rig/$kind.$what.bare")"
    # One base, and the same for both sides.
    "stream_${kind}_away" "$name"
    ours "$name" >/dev/null || fail "$name could not be sent"
  done
done
