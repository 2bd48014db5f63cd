/* Loaded before libc: a clock that is set, and a disk that fails. Both are told by files, so that they can change while the
   program runs. What it does not change goes to the kernel as it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long number_in(const char *path) {
    char text[32] = {0};
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long read = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return read > 0 ? atol(text) : 0;
}

/* By how many seconds the clock was set forward. */
int clock_gettime(clockid_t clock, struct timespec *at) {
    int done = syscall(SYS_clock_gettime, clock, at);
    const char *path = getenv("SHIM_CLOCK");
    if (done == 0 && clock == CLOCK_REALTIME && path) at->tv_sec += number_in(path);
    return done;
}

/* Of all calls on files below SHIM_BELOW: each adds a byte to SHIM_COUNT, and the one whose number SHIM_FAILS has fails. */
static int fails(int fd) {
    const char *below = getenv("SHIM_BELOW"), *count = getenv("SHIM_COUNT"), *which = getenv("SHIM_FAILS");
    char link[64], path[4096];
    struct stat stat;
    if (!below || !count || !which) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, below, strlen(below)) != 0) return 0;
    int counter = syscall(SYS_openat, AT_FDCWD, count, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (counter < 0) return 0;
    syscall(SYS_write, counter, ".", 1);
    fstat(counter, &stat);
    syscall(SYS_close, counter);
    if (stat.st_size != number_in(which)) return 0;
    errno = EIO;
    return 1;
}

int fsync(int fd) { return fails(fd) ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : syscall(SYS_fdatasync, fd); }
ssize_t write(int fd, const void *from, size_t length) { return fails(fd) ? -1 : syscall(SYS_write, fd, from, length); }
