# shellcheck shell=bash disable=SC2154 # rig, runs, snap and repository are those of scripts/bench
# Sourced by scripts/bench: how long three real brokers stand still for a backup, each on a btrfs volume of its own.
# Before a backup nothing is written, or 1 GiB into the data directories. The bare commands, `sync -f` and `btrfs
# subvolume snapshot -r` for each broker in a shell, run on the same volumes, clean and with the brokers down, in the
# same run.

# shellcheck source-path=SCRIPTDIR source=zeebe.sh
source "$repository/scripts/lib/zeebe.sh"
snap+=(--cluster "$rig/cluster.toml" --state-dir "$rig/state")

zeebe_install "$rig" "$rig/srv" 21
zeebe_addresses_are_free || fail "the addresses of the brokers are in use"
echo 'name = "bench"' >"$rig/cluster.toml"
for node in 0 1 2; do
  truncate -s 8G "$rig/disk-$node"
  mkfs.btrfs --quiet "$rig/disk-$node" >/dev/null
  mkdir -p "$rig/srv/broker-$node"
  mount -o loop "$rig/disk-$node" "$rig/srv/broker-$node"
  btrfs subvolume create "$rig/srv/broker-$node/data" >/dev/null
  cat >>"$rig/cluster.toml" <<END
[[broker]]
node_id = $node
data = "$rig/srv/broker-$node/data"
management = "http://$(zeebe_address "$node"):9600"
service = { start = ["$rig/broker-$node/start"], log = "$rig/broker-$node/log" }
END
done

delete_snapshots() {
  find "$rig"/srv/broker-*/.zeebe-snap/data -mindepth 1 -maxdepth 1 -type d -exec btrfs subvolume delete {} + >/dev/null
}

write_a_gib() {
  local node
  for node in 0 1 2; do
    dd if=/dev/urandom of="$rig/srv/broker-$node/data/ballast" bs=1M count=342 conv=notrunc status=none
  done
}

bare() {
  local node from to
  for node in 0 1 2; do sync -f "$rig/srv/broker-$node/data"; done
  from=$EPOCHREALTIME
  for node in 0 1 2; do
    sync -f "$rig/srv/broker-$node/data"
    btrfs subvolume snapshot -r "$rig/srv/broker-$node/data" "$rig/srv/broker-$node/.zeebe-snap/data/bare" >/dev/null
  done
  to=$EPOCHREALTIME
  delete_snapshots
  echo "$((${to/./} - ${from/./}))e-3"
}

stop_brokers() {
  local pid
  for pid in $(rig_brokers "$rig"); do
    kill -9 "$pid"
    while [[ -d /proc/$pid ]]; do sleep 0.1; done
  done
}

for kind in nothing 1-GiB; do
  zeebe_start
  zeebe_wait_healthy 300 || fail "the brokers did not come up"
  rm -f "$rig/ours" "$rig/bare"
  for ((run = 1; run <= runs; run++)); do
    [[ $kind == nothing ]] || write_a_gib
    "${snap[@]}" backup --json >"$rig/backup.json" || fail "backup $run failed"
    jq -e .exit_to_start_ms "$rig/backup.json" >>"$rig/ours"
    delete_snapshots
    echo "bench: backup $run of $runs, $kind written before: $(tail -n 1 "$rig/ours") ms" >&2
  done
  stop_brokers
  for ((run = 1; run <= runs; run++)); do bare >>"$rig/bare"; done
  [[ $kind != nothing ]] || echo "written before  whose          min  median     max   (ms, $runs runs)"
  printf '%-14s  zeebe-snap %s\n%-14s  bare       %s\n' "$kind" "$(spread <"$rig/ours")" "" "$(spread <"$rig/bare")"
done
