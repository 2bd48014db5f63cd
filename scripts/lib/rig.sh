# shellcheck shell=bash
# Sourced. A rig is a temporary folder, with the brokers, mounts and loop devices that live in it. Whatever ends the
# script, all of them end with it; what a killed script left behind is removed by the next one of its kind.
# This file must not know what a rig is made for.

# rig_open KIND: makes the folder and leaves its path in $rig. The pid in its name tells a live rig from a dead one.
# KEEP=1 in the environment keeps it.
rig_open() {
  local folder pid
  rig_base=$(cd "${TMPDIR:-/tmp}" && pwd -P)
  for folder in "$rig_base/zeebe-snap-$1"-*; do
    pid=${folder#"$rig_base/zeebe-snap-$1-"}
    pid=${pid%%-*}
    if [[ $pid =~ ^[0-9]+$ && ! -d /proc/$pid ]]; then
      echo "$1: removing what a dead run left: $folder" >&2
      rig_remove "$folder" || true
    fi
  done
  rig_child=
  rig=$(mktemp -d "$rig_base/zeebe-snap-$1-$$-XXXXXX")
  trap rig_close EXIT
  trap 'rig_signal INT 130' INT
  trap 'rig_signal TERM 143' TERM
  trap 'rig_signal HUP 129' HUP
}

# rig_run COMMAND...: runs it and waits. It is the head of a process group of its own, so that a signal to this script
# reaches it at once, once, and with all its children; bash would hold the signal back until the command is done.
rig_run() {
  local status=0
  set -m
  "$@" </dev/null &
  rig_child=$!
  set +m
  wait "$rig_child" || status=$?
  rig_child=
  return "$status"
}

rig_signal() {
  trap '' INT TERM HUP PIPE
  if [[ $rig_child ]]; then
    kill -s "$1" -- "-$rig_child" 2>/dev/null || true
    wait "$rig_child" 2>/dev/null || true # it unwinds
  fi
  exit "$2"
}

rig_close() {
  local status=$?
  trap '' INT TERM HUP PIPE
  set +e
  if [[ ${KEEP:-} == 1 ]]; then
    echo "kept, with all that runs in it: $rig" >&2
  elif ! rig_remove "$rig" && ((status == 0)); then
    status=1
  fi
  exit "$status"
}

# The processes that have a data directory below the folder in their environment: brokers, whoever started them.
rig_brokers() {
  grep -lsz "^ZEEBE_BROKER_DATA_DIRECTORY=$1/" /proc/[0-9]*/environ | cut -d / -f 3
}

# Mount points below the folder, the innermost first.
rig_mounts() {
  awk -v below="$1/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac
}

rig_loops() {
  losetup --list --noheadings --output NAME,BACK-FILE 2>/dev/null |
    awk -v below="$1/" 'index($2, below) == 1 { print $1 }'
}

rig_remove() {
  local deadline=$((SECONDS + 60)) pids mounts one
  while pids=$(rig_brokers "$1"); mounts=$(rig_mounts "$1"); [[ $pids || $mounts ]]; do
    if ((SECONDS > deadline)); then
      echo "could not remove $1: processes (${pids//$'\n'/ }), mounts (${mounts//$'\n'/ })" >&2
      return 1
    fi
    for one in $pids; do
      kill -9 "$one" 2>/dev/null
    done
    for one in $mounts; do
      umount "$one" 2>/dev/null # busy until the last broker is gone
    done
    sleep 0.1
  done
  for one in $(rig_loops "$1"); do
    losetup --detach "$one"
  done
  rm -rf --one-file-system "$1"
}
