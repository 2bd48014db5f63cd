# shellcheck shell=bash disable=SC2154 # runs and repository are those of scripts/bench
# Sourced by scripts/bench: how long brokers stand still for a backup on ZFS and on thin volumes, beside the bare commands. Where
# this machine's kernel has neither it is measured in scripts/vm, and then only the ratio says something. Brokers are processes
# that map and write their log; a real one is too slow there.

volumes=$(cargo test --quiet --release --locked --no-run --message-format=json --test volumes |
  jq -r 'select(.profile.test and .executable) | .executable')
ZEEBE_SNAP_BENCH_RUNS=$runs "$repository/scripts/vm" --rw "$repository" "$volumes" --ignored --exact bench::window --nocapture |
  grep -E '(min|zeebe-snap|bare) ' || fail "it could not be measured"
