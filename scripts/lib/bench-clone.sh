# shellcheck shell=bash disable=SC2154 # rig, runs, snap and repository are those of scripts/bench
# Sourced by scripts/bench: cloning a tree of 2 GiB and 30,000 entries (scripts/lib/make-tree), warm, on one loop volume
# of each kind, both sides synced (syncfs). Against `cp -a` and `rsync -aHAX` on ext4, against `cp -a --reflink=always`
# on xfs and btrfs. The runs of each side are in turn. Then the memory of a clone, as the tree grows.

ours() { "${snap[@]}" tree clone "$top/tree" "$top/clone"; }

cp_() {
  local how=()
  [[ $kind == ext4 ]] || how=(--reflink=always)
  cp -a "${how[@]}" "$top/tree" "$top/clone"
  sync -f "$top"
}

rsync_() {
  rsync -aHAX "$top/tree/" "$top/clone"
  sync -f "$top"
}

away() {
  rm -rf "$top/clone"
  sync -f "$top"
}

# The most memory that a command had, in KiB.
memory() {
  python3 -c '
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", 1, 0)])
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))' "$@"
}

declare -A reach=([ext4]=0.65 [xfs]=0.55 [btrfs]=0.7)
printf 'volume  whose        min  median     max   (ms, %s runs)   by cp (to reach)\n' "$runs"
for kind in ext4 xfs btrfs; do
  volume "$kind"
  top=$rig/$kind
  rig_run "$repository/scripts/lib/make-tree" "$top/tree" --plain >/dev/null || fail "the tree could not be made"
  rm -rf "$top/tree/deep" # neither cp nor rsync can copy it
  sync -f "$top"
  sides=(ours cp_)
  [[ $kind != ext4 ]] || sides+=(rsync_)
  for ((run = 1; run <= runs; run++)); do
    for side in "${sides[@]}"; do
      away
      timed "$rig/$kind.$side" "$side"
    done
    echo "bench: clone $run of $runs on $kind: $(last "$rig/$kind.ours") ms, cp $(last "$rig/$kind.cp_") ms" >&2
    # Each goes first as often as it goes last.
    sides=("${sides[@]:1}" "${sides[0]}")
  done
  for side in "${sides[@]}"; do
    [[ $side != ours ]] || said="$(ratio "$rig/$kind.ours" "$rig/$kind.cp_") (${reach[$kind]})"
  done
  printf '%-6s  zeebe-snap %s                   %s\n' "$kind" "$(spread <"$rig/$kind.ours")" "$said"
  for side in "${sides[@]}"; do
    [[ $side == ours ]] || printf '%-6s  %-10s %s\n' "" "${side%_}" "$(spread <"$rig/$kind.$side")"
  done
  away
  [[ $kind == xfs ]] || {
    umount "$top"
    rm "$rig/$kind.image"
  }
done

top=$rig/xfs
for entries in 30000 300000; do
  rm -rf "$top/tree"
  rig_run "$repository/scripts/lib/make-tree" "$top/tree" --plain --bytes 64M --entries "$entries" >/dev/null ||
    fail "the tree could not be made"
  kib=$(memory "${snap[@]}" tree clone "$top/tree" "$top/clone") || fail "the tree could not be cloned"
  printf 'memory of a clone of %6d entries: %d.%d MiB\n' "$entries" $((kib / 1024)) $((kib % 1024 * 10 / 1024))
  away
done
