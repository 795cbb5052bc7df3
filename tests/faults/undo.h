/* What the calls in shim.c tell the undo journal of undo.c. */
#ifndef FAULTS_UNDO_H
#define FAULTS_UNDO_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <sys/types.h>

void undo_begin(ssize_t (*write_of_libc)(int, const void *, size_t), int (*open_of_libc)(const char *, int, ...));
int undo_is_on(void);
void undo_lock(void);
void undo_unlock(void);
void undo_content(int fd, off64_t offset, uint64_t length);
void undo_length(int fd, off64_t length);
uint64_t undo_flush_begins(void);
void undo_flushed(int fd, uint64_t reach);
void undo_made(const char *path);
void undo_folder_made(const char *path);
void undo_unlinked(const char *path);
void undo_renamed(const char *from, const char *to);

#endif
