# shellcheck shell=bash disable=SC2154 # cache, packages, need and say are those of scripts/setup
# Sourced by scripts/setup. A Debian kernel with ZFS for scripts/vm to boot, in a folder. Nothing of it is installed on this machine:
# a kernel's package would have this machine's own boot files made anew, and zfs-dkms would compile for the kernel that is running.

vm_kernel=
vm_number=1 # goes up with what is in the folder

# kernel_has_volumes: whether the running kernel has ZFS and device-mapper.
kernel_has_volumes() {
  modprobe -qa zfs dm-mod 2>/dev/null
  [[ -e /dev/zfs && -e /dev/mapper/control ]]
}

# need_vm: what boots the kernel, and what makes it unless it is there.
need_vm() {
  [[ $(uname -m) == x86_64 ]] || die "the virtual machine is for x86_64, and this is $(uname -m)"
  need qemu-system-x86_64 qemu-system-x86
  find_vm_kernel && return
  need make make
  need gcc-12 gcc-12
  need perl perl
  [[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)
}

# zfs_version: of the tools; the module should be of the same.
zfs_version() {
  dpkg-query --show --showformat '${source:Upstream-Version}' zfsutils-linux 2>/dev/null
}

find_vm_kernel() {
  local folder
  for folder in "$cache/vm-$vm_number-zfs-$(zfs_version)-linux-"*[0-9a-z]; do
    [[ ! -e $folder/vmlinuz ]] || vm_kernel=$folder
  done
  [[ $vm_kernel ]]
}

# Debian's kernel for virtual machines, which boots in a fifth of the time of the other.
make_vm_kernel() (
  # depends PACKAGE BEGINNING: what it depends on and begins so.
  depends() { apt-cache depends --no-recommends --no-suggests "$1" | sed -n "s/^ *Depends: \($2.*\)/\1/p"; }
  image=$(depends linux-image-cloud-amd64 linux-image-)
  [[ $image ]] || { apt-get -qq update && image=$(depends linux-image-cloud-amd64 linux-image-); } || die "apt knows no linux-image-cloud-amd64"
  linux=${image#linux-image-}
  headers=linux-headers-$linux common=linux-headers-${linux%-cloud-*}-common
  zfs=$(zfs_version) || die "the zpool of this machine is not of Debian's package zfsutils-linux"
  folder=$cache/vm-$vm_number-zfs-$zfs-linux-$linux
  new=$cache/new.$$
  trap 'rm -rf "$new"' EXIT
  rm -rf "$new"
  mkdir -p "$new/packages" "$new/root" "$new/vm/lib"

  say "fetching $image and zfs-dkms $zfs"
  cd "$new/packages"
  apt-get -qq -o APT::Sandbox::User=root download "$image" "$headers" "$common" "$(depends "$headers" linux-kbuild-)" \
    "zfs-dkms=$(dpkg-query --show --showformat '${Version}' zfsutils-linux)" busybox-static || die "the packages could not be fetched (apt-get download)"
  for package in *.deb; do
    dpkg-deb --extract "$package" "$new/root"
  done
  source=$new/root/usr/src
  sed -i "s,/usr/src/,$source/," "$source/$headers/Makefile"

  say "compiling ZFS $zfs for Linux $linux, which takes some minutes"
  cd "$source/zfs-$zfs"
  {
    nice ./configure CC=gcc-12 --with-config=kernel --with-linux="$source/$common" --with-linux-obj="$source/$headers" &&
      nice make -s "-j$(nproc)"
  } >"$new/log" 2>&1 </dev/null || die "ZFS could not be compiled: $(tail -n 20 "$new/log")"

  mv "$new/root/lib/modules" "$new/vm/lib/"
  mkdir "$new/vm/lib/modules/$linux/extra"
  find module -name '*.ko' -exec cp -t "$new/vm/lib/modules/$linux/extra" {} +
  strip --strip-debug "$new/vm/lib/modules/$linux/extra/"*.ko
  depmod --basedir "$new/vm" "$linux"
  mv "$new/root/bin/busybox" "$new/vm/"
  mv "$new/root/boot/vmlinuz-$linux" "$new/vm/vmlinuz"
  mv -T "$new/vm" "$folder"
)
