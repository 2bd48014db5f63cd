# shellcheck shell=bash disable=SC2154 # rig, runs, snap and repository are those of scripts/bench
# Sourced by scripts/bench: hashing a tree of 2 GiB and 30,000 entries (scripts/lib/make-tree) from the cache, against
# `b3sum` over the same files, each of them once, with as many threads. To reach: 1.1 of its time.

volume ext4
top=$rig/ext4
rig_run "$repository/scripts/lib/make-tree" "$top/tree" --plain >/dev/null || fail "the tree could not be made"
rm -rf "$top/tree/deep" # b3sum opens by path
threads=$(nproc)
find "$top/tree" -type f -printf '%i %p\0' | sort -zun -k 1,1 | cut -zd ' ' -f 2- >"$rig/files"

ours() { "${snap[@]}" tree digest "$top/tree" --threads "$threads"; }
b3sum_() { xargs -0 b3sum --num-threads "$threads" -- <"$rig/files"; }

ours >/dev/null # warms the cache
sides=(ours b3sum_)
for ((run = 1; run <= runs; run++)); do
  for side in "${sides[@]}"; do
    timed "$rig/$side" "$side"
  done
  echo "bench: digest $run of $runs: $(last "$rig/ours") ms, b3sum $(last "$rig/b3sum_") ms" >&2
  sides=("${sides[@]:1}" "${sides[0]}")
done
printf 'whose        min  median     max   (ms, %s runs, %s threads)   by b3sum (to reach)\n' "$runs" "$threads"
printf 'zeebe-snap %s                               %s (1.1)\n' "$(spread <"$rig/ours")" "$(ratio "$rig/ours" "$rig/b3sum_")"
printf 'b3sum      %s\n' "$(spread <"$rig/b3sum_")"
