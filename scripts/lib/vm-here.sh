# shellcheck shell=bash
# Sourced by scripts/vm. What a command in this machine's own kernel may leave behind: whatever of ZFS and device-mapper has a
# name that begins with `zeebesnaptest`. Nothing else is touched.

here_prefix=zeebesnaptest

here_sweep() {
  local one source point
  while read -r source point; do
    [[ $source != "/dev/mapper/$here_prefix"* ]] || umount "$(printf '%b' "$point")"
  done < <(awk '{ for (i = 6; $i != "-"; i++); print $(i + 2), $5 }' /proc/self/mountinfo | tac)
  for one in $(zpool list -Ho name); do
    [[ $one != "$here_prefix"* ]] || zpool destroy -f "$one"
  done
  for one in $(vgs --noheadings --options vg_name); do
    [[ $one != "$here_prefix"* ]] || vgremove --quiet --force --force --yes "$one" >/dev/null
  done
  for one in $(dmsetup ls 2>/dev/null | cut -f 1); do
    [[ $one != "$here_prefix"* ]] || dmsetup remove --force "$one"
  done
  while read -r one source; do
    [[ ${source##*/} != "$here_prefix"* ]] || losetup --detach "$one"
  done < <(losetup --list --noheadings --output NAME,BACK-FILE)
}
