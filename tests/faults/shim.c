/*
 * Faults of the disk and of the wall clock, for one process and its children.
 *
 * Loaded with LD_PRELOAD. What is to fail is read from a small file that the harness maps as well ($FAULTS_CONTROL); only
 * files below $FAULTS_DATA are touched. Each injected fault is counted there, so that the harness can tell a run in
 * which nothing was injected from one that withstood it.
 *
 * The layout of `struct control` is that of shim.py.
 */
#define _GNU_SOURCE
#include "undo.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FULL = 1, BROKEN = 2, UNFLUSHED = 4, SHORT = 8, SLOW = 16 };
enum { HIT_FULL, HIT_BROKEN, HIT_UNFLUSHED, HIT_SHORT, HIT_SLOW, HIT_CLOCK, HITS };

struct control {
    _Atomic uint32_t mode;     /* of the bits above */
    _Atomic uint32_t permille; /* how likely each call is to fail */
    _Atomic int64_t clock_ns;  /* added to the wall clock */
    _Atomic uint64_t hits[HITS];
};

static struct control *control;
static char data[PATH_MAX];
static size_t data_len;

#define REAL(name) real_##name
#define DECLARE(type, name, ...) static type (*real_##name)(__VA_ARGS__)

DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, writev, int, const struct iovec *, int);
DECLARE(ssize_t, pwrite64, int, const void *, size_t, off64_t);
DECLARE(int, fsync, int);
DECLARE(int, fdatasync, int);
DECLARE(int, ftruncate64, int, off64_t);
DECLARE(int, fallocate64, int, int, off64_t, off64_t);
DECLARE(int, posix_fallocate64, int, off64_t, off64_t);
DECLARE(int, open64, const char *, int, ...);
DECLARE(int, openat64, int, const char *, int, ...);
DECLARE(int, clock_gettime, clockid_t, struct timespec *);
DECLARE(int, gettimeofday, struct timeval *restrict, void *restrict);
DECLARE(int, unlink, const char *);
DECLARE(int, unlinkat, int, const char *, int);
DECLARE(int, rename, const char *, const char *);
DECLARE(int, mkdir, const char *, mode_t);

#define FIND(name) (real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    FIND(write);
    FIND(writev);
    FIND(pwrite64);
    FIND(fsync);
    FIND(fdatasync);
    FIND(ftruncate64);
    FIND(fallocate64);
    FIND(posix_fallocate64);
    FIND(open64);
    FIND(openat64);
    FIND(clock_gettime);
    FIND(gettimeofday);
    FIND(unlink);
    FIND(unlinkat);
    FIND(rename);
    FIND(mkdir);
    const char *path = getenv("FAULTS_CONTROL"), *below = getenv("FAULTS_DATA");
    if (!path || !below || !realpath(below, data))
        return;
    data_len = strlen(data);
    int fd = real_open64(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
    undo_begin(real_write, real_open64);
}

static int below_data(const char *path) {
    return strncmp(path, data, data_len) == 0 && path[data_len] == '/';
}

/* Chance enough: the seed decides when and what, threads decide which call comes when. */
static int drawn(void) {
    static _Thread_local uint32_t state;
    if (!state)
        state = (uint32_t)(uintptr_t)&state | 1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % 1000 < atomic_load(&control->permille);
}

static uint32_t mode_now(void) { return control ? atomic_load(&control->mode) : 0; }

static void hit(int which) { atomic_fetch_add(&control->hits[which], 1); }

static int ours(int fd) {
    char link[64], path[PATH_MAX];
    struct stat now;
    if (fstat(fd, &now) || !(S_ISREG(now.st_mode) || S_ISDIR(now.st_mode)))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return below_data(path) || strcmp(path, data) == 0;
}

/* The error that a write to this file gets now, or 0. */
static int write_error(int fd) {
    uint32_t mode = mode_now();
    if (!(mode & (FULL | BROKEN)) || !ours(fd) || !drawn())
        return 0;
    if (mode & FULL)
        return hit(HIT_FULL), ENOSPC;
    return hit(HIT_BROKEN), EIO;
}

static size_t shortened(int fd, size_t count) {
    if (!(mode_now() & SHORT) || count < 2 || !ours(fd) || !drawn())
        return count;
    hit(HIT_SHORT);
    return count / 2;
}

/* Where a plain write goes. */
static off64_t write_offset(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return lseek64(fd, 0, flags >= 0 && (flags & O_APPEND) ? SEEK_END : SEEK_CUR);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    int error = write_error(fd);
    if (error)
        return errno = error, -1;
    count = shortened(fd, count);
    if (!undo_is_on() || !ours(fd))
        return real_write(fd, bytes, count);
    undo_lock();
    undo_content(fd, write_offset(fd), count);
    ssize_t written = real_write(fd, bytes, count);
    undo_unlock();
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int error = write_error(fd);
    if (error)
        return errno = error, -1;
    if (!undo_is_on() || !ours(fd))
        return real_writev(fd, parts, count);
    uint64_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    undo_lock();
    undo_content(fd, write_offset(fd), length);
    ssize_t written = real_writev(fd, parts, count);
    undo_unlock();
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    int error = write_error(fd);
    if (error)
        return errno = error, -1;
    count = shortened(fd, count);
    if (!undo_is_on() || !ours(fd))
        return real_pwrite64(fd, bytes, count, at);
    undo_lock();
    undo_content(fd, at, count);
    ssize_t written = real_pwrite64(fd, bytes, count, at);
    undo_unlock();
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

static int flush_error(int fd) {
    uint32_t mode = mode_now();
    if (!(mode & (UNFLUSHED | SLOW)) || !ours(fd))
        return 0;
    if (mode & SLOW) {
        struct timespec pause = {0, 50 * 1000 * 1000};
        hit(HIT_SLOW);
        nanosleep(&pause, NULL);
    }
    if ((mode & UNFLUSHED) && drawn())
        return hit(HIT_UNFLUSHED), EIO;
    return 0;
}

static int flush(int fd, int (*how)(int)) {
    int error = flush_error(fd);
    if (error)
        return errno = error, -1;
    if (!undo_is_on() || !ours(fd))
        return how(fd);
    uint64_t reach = undo_flush_begins();
    int failed = how(fd);
    if (!failed)
        undo_flushed(fd, reach);
    return failed;
}

int fsync(int fd) { return flush(fd, real_fsync); }

int fdatasync(int fd) { return flush(fd, real_fdatasync); }

int ftruncate64(int fd, off64_t length) {
    struct stat now;
    int grows = fstat(fd, &now) == 0 && length > now.st_size;
    int error = grows ? write_error(fd) : 0;
    if (error)
        return errno = error, -1;
    if (!undo_is_on() || !ours(fd))
        return real_ftruncate64(fd, length);
    undo_lock();
    undo_length(fd, length);
    int failed = real_ftruncate64(fd, length);
    undo_unlock();
    return failed;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int fallocate64(int fd, int how, off64_t at, off64_t length) {
    int error = write_error(fd);
    return error ? (errno = error, -1) : real_fallocate64(fd, how, at, length);
}

int fallocate(int fd, int how, off_t at, off_t length) { return fallocate64(fd, how, at, length); }

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    int error = write_error(fd);
    return error ? error : real_posix_fallocate64(fd, at, length);
}

int posix_fallocate(int fd, off_t at, off_t length) { return posix_fallocate64(fd, at, length); }

/* A full or broken disk refuses new files; relative paths are left alone, the server uses absolute ones. */
static int create_error(const char *path, int flags) {
    uint32_t mode = mode_now();
    if (!(flags & O_CREAT) || !(mode & (FULL | BROKEN)) || !below_data(path) || access(path, F_OK) == 0 || !drawn())
        return 0;
    if (mode & FULL)
        return hit(HIT_FULL), ENOSPC;
    return hit(HIT_BROKEN), EIO;
}

/* A file that is there and opened for nothing but what is in it costs no journal. */
static int is_new(const char *path, int flags) {
    return undo_is_on() && (flags & O_CREAT) && below_data(path) && access(path, F_OK) != 0;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int error = create_error(path, flags);
    if (error)
        return errno = error, -1;
    if (!is_new(path, flags))
        return real_open64(path, flags, mode);
    undo_lock();
    undo_made(path);
    int fd = real_open64(path, flags, mode);
    undo_unlock();
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return open64(path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    int error = create_error(path, flags);
    if (error)
        return errno = error, -1;
    if (!is_new(path, flags))
        return real_openat64(folder, path, flags, mode);
    undo_lock();
    undo_made(path);
    int fd = real_openat64(folder, path, flags, mode);
    undo_unlock();
    return fd;
}

int unlink(const char *path) {
    if (!undo_is_on() || !below_data(path))
        return real_unlink(path);
    undo_lock();
    undo_unlinked(path);
    int failed = real_unlink(path);
    undo_unlock();
    return failed;
}

int unlinkat(int folder, const char *path, int flags) {
    if (!undo_is_on() || flags || !below_data(path))
        return real_unlinkat(folder, path, flags);
    return unlink(path);
}

int rename(const char *from, const char *to) {
    if (!undo_is_on() || !below_data(from) || !below_data(to))
        return real_rename(from, to);
    undo_lock();
    undo_renamed(from, to);
    int failed = real_rename(from, to);
    undo_unlock();
    return failed;
}

int mkdir(const char *path, mode_t mode) {
    if (!undo_is_on() || !below_data(path) || access(path, F_OK) == 0)
        return real_mkdir(path, mode);
    undo_lock();
    undo_folder_made(path);
    int failed = real_mkdir(path, mode);
    undo_unlock();
    return failed;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) /* before our constructor, by another library's */
        FIND(clock_gettime);
    int failed = real_clock_gettime(clock, now);
    int64_t moved = control ? atomic_load(&control->clock_ns) : 0;
    if (!failed && moved && clock == CLOCK_REALTIME) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + moved;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
        hit(HIT_CLOCK);
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise))
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
