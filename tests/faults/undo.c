/*
 * A power cut, as far as a process can play one: what was written and not flushed may be gone afterwards.
 *
 * Before each change below the data folder, what would undo it is appended to a journal ($FAULTS_UNDO/journal): the bytes
 * that a write replaces and the size before it, a second name for a file that is unlinked. A flush that succeeded is noted with
 * how far the journal was when it began. After the process has been killed, powercut.py takes back changes that no flush
 * covers. Names are contents of their folder: a new file is sure when its folder has been flushed.
 *
 * One process at a time may change the data folder. The layout of `struct record` is that of powercut.py.
 */
#include "undo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENT = 1, FLUSHED = 2, MADE = 3, UNLINKED = 4, RENAMED = 5, FOLDER_MADE = 6, CUT = 7 };

struct record {
    uint32_t kind;
    uint32_t name_length;
    uint64_t inode;  /* of the file; for names, of their folder */
    uint64_t offset; /* CONTENT, CUT: of the old bytes; FLUSHED: how far it reaches in the journal */
    uint64_t size;   /* CONTENT, CUT: of the file before */
    uint64_t length; /* of the old bytes, or of the second name, that follow the name */
};

enum { COPIED_AT_ONCE = 1 << 16 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static char folder[PATH_MAX];
static ssize_t (*real_write)(int, const void *, size_t);

void undo_begin(ssize_t (*write_of_libc)(int, const void *, size_t), int (*open_of_libc)(const char *, int, ...)) {
    const char *given = getenv("FAULTS_UNDO");
    char path[PATH_MAX + 16];
    if (!given || !realpath(given, folder))
        return;
    real_write = write_of_libc;
    snprintf(path, sizeof path, "%s/journal", folder);
    journal = open_of_libc(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
}

int undo_is_on(void) { return journal >= 0; }

void undo_lock(void) { pthread_mutex_lock(&mutex); }

void undo_unlock(void) { pthread_mutex_unlock(&mutex); }

/* A journal that lacks a record would lie: better no process at all. */
static void append(const void *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = real_write(journal, bytes, count);
        if (written <= 0) {
            perror("faults: the undo journal cannot be written");
            abort();
        }
        bytes = (const char *)bytes + written;
        count -= (size_t)written;
    }
}

static uint64_t journal_end(void) {
    struct stat now;
    return fstat(journal, &now) == 0 ? (uint64_t)now.st_size : 0;
}

/* `length` bytes at `offset` are about to be replaced, or cut off. Holds the lock. */
static void old_bytes(uint32_t kind, int fd, off64_t offset, uint64_t length) {
    static char copied[COPIED_AT_ONCE];
    char link[64];
    struct stat now;
    if (fstat(fd, &now) != 0)
        return;
    uint64_t size = (uint64_t)now.st_size;
    uint64_t old = (uint64_t)offset >= size ? 0 : size - (uint64_t)offset;
    struct record record = {kind, 0, now.st_ino, (uint64_t)offset, size, old < length ? old : length};
    append(&record, sizeof record);
    if (record.length == 0)
        return;
    /* The file may be open for writing only. */
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int readable = open(link, O_RDONLY | O_CLOEXEC);
    for (uint64_t done = 0; done < record.length;) {
        uint64_t left = record.length - done;
        ssize_t got = pread64(readable, copied, left < COPIED_AT_ONCE ? left : COPIED_AT_ONCE, offset + (off64_t)done);
        if (got <= 0) {
            perror("faults: old bytes cannot be read");
            abort();
        }
        append(copied, (size_t)got);
        done += (uint64_t)got;
    }
    close(readable);
}

void undo_content(int fd, off64_t offset, uint64_t length) { old_bytes(CONTENT, fd, offset, length); }

void undo_length(int fd, off64_t length) { old_bytes(CUT, fd, length, UINT64_MAX); }

uint64_t undo_flush_begins(void) {
    undo_lock();
    uint64_t end = journal_end();
    undo_unlock();
    return end;
}

void undo_flushed(int fd, uint64_t reach) {
    struct stat now;
    if (fstat(fd, &now) != 0)
        return;
    struct record record = {FLUSHED, 0, now.st_ino, reach, 0, 0};
    undo_lock();
    append(&record, sizeof record);
    undo_unlock();
}

static uint64_t parent_inode(const char *path) {
    char parent[PATH_MAX];
    struct stat now;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash)
        return 0;
    *slash = 0;
    return stat(parent, &now) == 0 ? now.st_ino : 0;
}

static void name(uint32_t kind, const char *path, const char *second) {
    size_t second_length = second ? strlen(second) : 0;
    struct record record = {kind, (uint32_t)strlen(path), parent_inode(path), 0, 0, second_length};
    append(&record, sizeof record);
    append(path, strlen(path));
    if (second_length)
        append(second, second_length);
}

/* The following hold the lock; each is called before what it is about. */

void undo_made(const char *path) { name(MADE, path, NULL); }

void undo_folder_made(const char *path) { name(FOLDER_MADE, path, NULL); }

void undo_unlinked(const char *path) {
    static uint64_t number;
    char kept[PATH_MAX + 64];
    snprintf(kept, sizeof kept, "%s/%d-%llu", folder, getpid(), (unsigned long long)number++);
    if (link(path, kept) == 0)
        name(UNLINKED, path, kept);
}

/* What had the new name is kept first: its name goes. */
void undo_renamed(const char *from, const char *to) {
    if (access(to, F_OK) == 0)
        undo_unlinked(to);
    name(RENAMED, from, to);
}
