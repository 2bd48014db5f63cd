# shellcheck shell=bash disable=SC2154 # cache, repository, say and VM_KERNEL are those of scripts/vm
# Sourced by scripts/vm. A machine is a folder, with an emulator that runs as long as the folder is there; a job is a command
# in it. Nothing but files and a pipe, the doorbell, is between this side and the other, lib/vm-agent.
# This file must not know why a machine is wanted, or who ends it.
#
#   FOLDER/writable       the folders of this machine that can be written to from inside, as bash words
#   FOLDER/doorbell.in    a line wakes the agent
#   FOLDER/guest/         /run/vm inside: agent, settings, ready, jobs/JOB/
#   FOLDER/console        what the kernel says
#   FOLDER/pid            of the emulator

exec {machine_pause}<> <(:)
# Nothing ever comes from there: a sleep that takes no process.
machine_pause() {
  read -rt 0.05 -u "$machine_pause" || true
}

# machine_boot FOLDER MEMORY CPUS IDLE WRITABLE...: boots one that ends itself after IDLE seconds without a job. Its processes
# end with this one; their pids are in $machine_children.
machine_boot() {
  if machine_may_have_kvm; then
    machine_start "$1" "$2" "$3" "$4" -accel kvm -cpu host -- "${@:5}"
    machine_wait "$1" 60 && return
    machine_tell "$1"
    machine_kill
    say "so this machine's processor cannot be used, and from now on everything is emulated (to try again, remove $(machine_no_kvm))"
    : >"$(machine_no_kvm)"
  fi
  machine_start "$1" "$2" "$3" "$4" -accel tcg,thread=multi -cpu max -- "${@:5}"
  machine_wait "$1" 300 && return
  machine_tell "$1"
  return 1
}

machine_kill() {
  local pid
  for pid in "${machine_children[@]}"; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  machine_children=()
}

machine_children=()
# machine_start FOLDER MEMORY CPUS IDLE ARGUMENT... -- WRITABLE...
machine_start() {
  local folder=$1 memory=$2 cpus=$3 idle=$4 accelerator=()
  shift 4
  while [[ $1 != -- ]]; do
    accelerator+=("$1")
    shift
  done
  shift
  mkdir -p "$folder/guest/jobs"
  rm -f "$folder/guest/ready"
  cp "$repository/scripts/lib/vm-agent" "$folder/guest/agent"
  echo "${*@Q}" >"$folder/writable"
  printf 'vm_writable=(%s) vm_idle=%s\n' "${*@Q}" "$idle" >"$folder/guest/settings"
  machine_initramfs "$folder" "$@"
  [[ -p $folder/doorbell.in ]] || mkfifo "$folder/doorbell.in" "$folder/doorbell.out"
  local files=files.$$ # virtiofsd has one lock for all sockets of one name
  machine_child virtiofsd /usr/lib/qemu/virtiofsd --socket-path="$files" -o source=/ -o sandbox=chroot -o xattr \
    -o cache=always -o timeout=1 -o log_level=err # all of a file that is in memory is good while the file is the same
  until [[ -S $folder/$files ]]; do
    kill -0 "$!" 2>/dev/null || break
    machine_pause
  done
  machine_child qemu qemu-system-x86_64 "${accelerator[@]}" -smp "$cpus" -m "$memory" -nodefaults -no-user-config \
    -no-reboot -display none -serial file:console \
    -object "memory-backend-memfd,id=memory,size=$memory,share=on" -numa node,memdev=memory \
    -chardev "socket,id=files,path=$files" -device vhost-user-fs-pci,chardev=files,tag=host \
    -chardev "pipe,id=bell,path=$folder/doorbell" -device virtio-serial-pci -device virtserialport,chardev=bell \
    -kernel "$VM_KERNEL/vmlinuz" -initrd initramfs.cpio \
    -append "console=ttyS0 quiet panic=-1 oops=panic mitigations=off no_timer_check"
  echo $! >"$folder/pid"
}

# machine_child NAME COMMAND...: in the machine's folder, as the path of a socket must be short. What it says is in NAME.log.
machine_child() {
  (cd "$folder" && exec setpriv --pdeathsig KILL "${@:2}" </dev/null >"$1.log" 2>&1) &
  machine_children+=($!)
}

# What the kernel needs before it has the host's files.
machine_initramfs() {
  local folder=$1 new=$1/initramfs version wanted file modules=()
  shift
  mkdir -p "$new/bin" "$new/modules"
  cp "$VM_KERNEL/busybox" "$new/bin/"
  cp "$repository/scripts/lib/vm-init" "$new/init"
  chmod +x "$new/init"
  version=$(cd "$VM_KERNEL/lib/modules" && echo *)
  for wanted in virtio_pci virtiofs overlay; do
    while read -r _ file _; do
      [[ -e $new/modules/${file##*/} ]] || modules+=("${file##*/}")
      cp "$file" "$new/modules/"
    done < <(modprobe --dirname "$VM_KERNEL" --set-version "$version" --show-depends "$wanted" | grep ^insmod)
  done
  printf '%s=%s\n' vm_kernel "${VM_KERNEL@Q}" vm_folder "${folder@Q}" vm_modules "'${modules[*]}'" >"$new/settings"
  echo "set -- ${*@Q}" >>"$new/settings"
  (cd "$new" && find . | bin/busybox cpio -o -H newc 2>/dev/null) >"$folder/initramfs.cpio"
  rm -rf "$new"
}

# A processor that runs a guest's kernel says so. Where one says so and it does not, a file keeps that in mind.
machine_may_have_kvm() {
  [[ -w /dev/kvm && ! -e $(machine_no_kvm) ]] && grep -qE '^flags\s.* (vmx|svm)( |$)' /proc/cpuinfo
}

machine_no_kvm() {
  echo "$cache/vm-no-kvm-$(uname -r)"
}

# machine_lives FOLDER: a process of somebody else may have got its pid since.
machine_lives() {
  local pid words=()
  { read -r pid <"$1/pid" && mapfile -d '' words <"/proc/$pid/cmdline"; } 2>/dev/null || return 1
  [[ " ${words[*]} " == *",path=$1/doorbell "* ]]
}

# machine_wait FOLDER SECONDS: until the one that was started is ready for jobs.
machine_wait() {
  local deadline=$((SECONDS + $2))
  until [[ -e $1/guest/ready ]]; do
    if ! kill -0 "${machine_children[-1]}" 2>/dev/null; then
      say "the machine has ended while it booted"
      return 1
    elif ((SECONDS > deadline)); then
      say "the machine is not ready after $2 s"
      return 1
    fi
    machine_pause
  done
}

# What there is to say about a machine that failed.
machine_tell() {
  tail -qn 20 "$1/virtiofsd.log" "$1/qemu.log" "$1/console" >&2 2>/dev/null || true
}

# machine_ring FOLDER WORD...: to read and to write, so that it does not wait for the other end.
machine_ring() {
  local bell
  exec {bell}<>"$1/doorbell.in"
  echo "${*:2}" >&"$bell"
  exec {bell}>&-
}

# machine_has FOLDER PATH: whether what this side has there is there on the other.
machine_has() {
  local writable one
  [[ $2 =~ ^/(tmp|run|dev)(/|$) ]] || return 0
  eval "writable=($(<"$1/writable"))"
  for one in "${writable[@]}"; do
    [[ $2/ != "$one"/* ]] || return 0
  done
  return 1
}

job='' job_machine='' job_children=()
# job_start FOLDER COMMAND...
job_start() {
  job_machine=$1
  job=$(mktemp -d "$1/guest/jobs/XXXXXX")
  pwd -P >"$job/folder"
  env -u TMPDIR -u VM_KERNEL -0 >"$job/environment"
  printf '%s\0' "${@:2}" >"$job/command"
  : >"$job/stdout"
  : >"$job/stderr"
  machine_ring "$1" run "${job##*/}"
}

# job_follow SECONDS: brings the job's output here as it comes, and its exit code into $job_code. Returns 124 if its time is
# over, and 125 if the machine is gone.
job_follow() {
  local deadline=$((SECONDS + $1)) status=0 clock
  setpriv --pdeathsig KILL sleep infinity & # when it ends, so do the others, with what there is left to bring
  clock=$!
  tail -qf -c +1 -s 0.05 --pid=$clock "$job/stdout" &
  job_children=("$clock" "$!")
  tail -qf -c +1 -s 0.05 --pid=$clock "$job/stderr" >&2 &
  job_children+=("$!")
  until [[ -e $job/code ]]; do
    if ((SECONDS > deadline)); then
      status=124
      break
    elif ! machine_lives "$job_machine"; then
      status=125
      break
    fi
    machine_pause
  done
  kill "$clock"
  wait "${job_children[@]}" 2>/dev/null || true
  job_children=()
  case $status in
    0) job_code=$(<"$job/code") ;;
    124) say "given up after $1 s" ;;
    125)
      say "the machine has ended before the command"
      machine_tell "$job_machine"
      ;;
  esac
  return $status
}

# job_leave: the job ends, if it has not yet, and what it is known by is removed.
job_leave() {
  local pid
  for pid in "${job_children[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  [[ $job && -e $job ]] || return 0
  if [[ -e $job/code ]]; then
    rm -rf "$job"
  elif machine_lives "$job_machine"; then
    machine_ring "$job_machine" end "${job##*/}"
  fi
}
