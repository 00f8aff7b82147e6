/* Makes the disk fail at a chosen step: preloaded into a process, it counts every call that changes a file below
 * FAULT_FOLDER and lets the one numbered FAULT_AT go wrong in the way FAULT_MODE names. With FAULT_AT=0 nothing fails.
 *
 *   eio     the call fails once with EIO
 *   enospc  this call and every later one that needs room fails with ENOSPC: a full disk stays full
 *   short   a write takes half of what it was given; other calls are carried out
 *   kill    the process is killed before the call
 *   torn    a write is carried out by half, other calls wholly, and the process is killed
 *
 * At a normal end the number of steps is written to FAULT_STEPS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long steps;
static const char *folder, *mode;
static long fault_at;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("FAULT_FOLDER");
    mode = getenv("FAULT_MODE");
    const char *at = getenv("FAULT_AT");
    fault_at = at ? atol(at) : 0;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("FAULT_STEPS");
    if (!path) return;
    FILE *out = fopen(path, "w");
    if (!out) return;
    fprintf(out, "%ld", atomic_load(&steps));
    fclose(out);
}

static int below(const char *path) {
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return below(path);
}

enum verdict { PASS, FAIL, HALF, DIE, HALF_AND_DIE };

static enum verdict step(int needs_room) {
    long now = atomic_fetch_add(&steps, 1) + 1;
    if (fault_at == 0 || !mode || now < fault_at) return PASS;
    if (strcmp(mode, "enospc") == 0) {
        if (!needs_room) return PASS;
        errno = ENOSPC;
        return FAIL;
    }
    if (now != fault_at) return PASS;
    if (strcmp(mode, "eio") == 0) {
        errno = EIO;
        return FAIL;
    }
    if (strcmp(mode, "short") == 0) return HALF;
    if (strcmp(mode, "kill") == 0) return DIE;
    return HALF_AND_DIE;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

#define WRITES(call_whole, call_half)               \
    switch (step(1)) {                              \
    case PASS: return call_whole;                   \
    case FAIL: return -1;                           \
    case HALF: return call_half;                    \
    case DIE: die();                                \
    case HALF_AND_DIE: (void)!(call_half); die();   \
    }                                               \
    return -1;

#define CHANGES(call, needs_room)                   \
    switch (step(needs_room)) {                     \
    case PASS: case HALF: return call;              \
    case FAIL: return -1;                           \
    case DIE: die();                                \
    case HALF_AND_DIE: (void)!(call); die();        \
    }                                               \
    return -1;

static size_t half(size_t length) { return length > 1 ? length / 2 : length; }

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t (*real)(int, const void *, size_t) = REAL(ssize_t, write, int, const void *, size_t);
    if (!ours(fd)) return real(fd, bytes, length);
    WRITES(real(fd, bytes, length), real(fd, bytes, half(length)))
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    if (!ours(fd)) return real(fd, bytes, length, at);
    WRITES(real(fd, bytes, length, at), real(fd, bytes, half(length), at))
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) = REAL(ssize_t, writev, int, const struct iovec *, int);
    if (!ours(fd)) return real(fd, parts, count);
    WRITES(real(fd, parts, count), real(fd, parts, count > 1 ? count / 2 : count))
}

int fsync(int fd) {
    int (*real)(int) = REAL(int, fsync, int);
    if (!ours(fd)) return real(fd);
    CHANGES(real(fd), 0)
}

int fdatasync(int fd) {
    int (*real)(int) = REAL(int, fdatasync, int);
    if (!ours(fd)) return real(fd);
    CHANGES(real(fd), 0)
}

int ftruncate64(int fd, off64_t length) {
    int (*real)(int, off64_t) = REAL(int, ftruncate64, int, off64_t);
    if (!ours(fd)) return real(fd, length);
    CHANGES(real(fd, length), 1)
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = REAL(int, rename, const char *, const char *);
    if (!below(to)) return real(from, to);
    CHANGES(real(from, to), 0)
}

int unlink(const char *path) {
    int (*real)(const char *) = REAL(int, unlink, const char *);
    if (!below(path)) return real(path);
    CHANGES(real(path), 0)
}

int mkdir(const char *path, mode_t permissions) {
    int (*real)(const char *, mode_t) = REAL(int, mkdir, const char *, mode_t);
    if (!below(path)) return real(path, permissions);
    CHANGES(real(path, permissions), 1)
}

int open64(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = REAL(int, open64, const char *, int, ...);
    va_list arguments;
    va_start(arguments, flags);
    mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (!(flags & O_CREAT) || !below(path)) return real(path, flags, permissions);
    CHANGES(real(path, flags, permissions), 1)
}
