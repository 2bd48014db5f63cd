# shellcheck shell=bash
# Sourced. Root folders of a fresh Debian 12, for containers of this machine.

# debian_root FOLDER PACKAGE,PACKAGE...: makes one, with these packages beside the smallest Debian there is. It is there whole
# or not at all. This machine's settings of apt hold while it is made.
debian_root() (
  new=$1.new
  trap 'rm -rf --one-file-system "$new" "$new.conf"' EXIT
  mkdir -p "${1%/*}"
  rm -rf --one-file-system "$new" # what a killed one has left
  apt-config dump | grep '^Acquire::' >"$new.conf" || true
  mmdebstrap --quiet --variant=minbase --include="$2" --aptopt="$new.conf" bookworm "$new" &&
    mv -T "$new" "$1"
)
