/* Preloaded into a server: writes down, in SYSCALLS_LOG, what it asks of the disk and when it answers on a socket (test_durability.py).
 *
 * A line is `name begin end result text`: CLOCK_MONOTONIC in nanoseconds before and after the call, what it returned, and the path
 * (two for a rename, separated by a tab). A write has the number of the first byte's place in the file where that is known. A write to a
 * SQLite log is followed by the names of segments that stand in its bytes; a write to a socket has the peer's port for a path.
 *
 * SYSCALLS_SLOW: the path of a folder whose first fsync after a folder was created in it takes 600 ms, as on a busy disk.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LINE 65536
static int log_file = -1;
static const char *slow_folder;
static atomic_int slow_waits; /* a folder was created in it, and nobody has synced it since */

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SYSCALLS_LOG");
    slow_folder = getenv("SYSCALLS_SLOW");
    if (path) log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void note(const char *name, long long begin, long long result, const char *text) {
    static __thread char line[LINE];
    int kept = errno, length = snprintf(line, sizeof line, "%s %lld %lld %lld %s\n", name, begin, now(), result, text);
    if (log_file >= 0 && length > 0) syscall(SYS_write, log_file, line, length < LINE ? length : LINE - 1);
    errno = kept;
}

/* What a descriptor is: 'f' a file or folder, with its path; 's' a TCP connection, with the peer's port; 0 anything else. */
static char what(int fd, char *text) {
    struct stat info;
    int kept = errno;
    char kind = 0;
    if (log_file >= 0 && fstat(fd, &info) == 0) {
        if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(link, text, PATH_MAX - 1);
            if (length > 0) text[length] = 0, kind = 'f';
        } else if (S_ISSOCK(info.st_mode)) {
            struct sockaddr_in peer;
            socklen_t size = sizeof peer;
            if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET)
                snprintf(text, PATH_MAX, "%d", ntohs(peer.sin_port)), kind = 's';
        }
    }
    errno = kept;
    return kind;
}

static void written(int fd, long long begin, long long result, long long at, const char *bytes, size_t size) {
    char path[PATH_MAX];
    char kind = what(fd, path);
    if (kind == 's') note("answer", begin, result, path);
    if (kind != 'f') return;
    static __thread char text[LINE - 256];
    size_t length = snprintf(text, sizeof text, "%s\t%lld", path, at);
    size_t name = strlen(path);
    if (bytes && name > 4 && strcmp(path + name - 4, "-wal") == 0) {
        const char *from = bytes, *end = bytes + size;
        while ((from = memmem(from, end - from, ".seg", 4)) != NULL) {
            const char *first = from;
            while (first > bytes && first[-1] > ' ' && first[-1] < 127 && first[-1] != '/') first--;
            if (length + (from - first) + 6 < sizeof text)
                length += snprintf(text + length, sizeof text - length, "\t%.*s.seg", (int)(from - first), first);
            from += 4;
        }
    }
    note("write", begin, result, text);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    long long begin = now();
    ssize_t done = real(fd, bytes, size);
    written(fd, begin, done, -1, bytes, size);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    long long begin = now();
    ssize_t done = real(fd, bytes, size, at);
    written(fd, begin, done, at, bytes, size);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at) { return pwrite64(fd, bytes, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    long long begin = now();
    ssize_t done = real(fd, parts, count);
    written(fd, begin, done, -1, NULL, 0);
    return done;
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    long long begin = now();
    ssize_t done = real(fd, bytes, size, flags);
    written(fd, begin, done, -1, NULL, 0);
    return done;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    long long begin = now();
    ssize_t done = real(fd, message, flags);
    written(fd, begin, done, -1, NULL, 0);
    return done;
}

static void synced(const char *name, int fd, long long begin, int result) {
    char path[PATH_MAX];
    if (what(fd, path) == 'f') note(name, begin, result, path);
}

/* Sleeps where the disk is to be slow. */
static void dawdle(int fd) {
    char path[PATH_MAX];
    if (slow_folder && what(fd, path) == 'f' && strcmp(path, slow_folder) == 0 && atomic_exchange(&slow_waits, 0)) usleep(600 * 1000);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    long long begin = now();
    dawdle(fd);
    int result = real(fd);
    synced("sync", fd, begin, result);
    return result;
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    long long begin = now();
    int result = real(fd);
    synced("sync", fd, begin, result);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    char both[2 * PATH_MAX + 2];
    long long begin = now();
    int result = real(from, to);
    snprintf(both, sizeof both, "%s\t%s", from, to);
    note("rename", begin, result, both);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    long long begin = now();
    int result = real(path, mode), kept = errno;
    const char *end = strrchr(path, '/');
    if (result == 0 && slow_folder && end && strlen(slow_folder) == (size_t)(end - path) && strncmp(path, slow_folder, end - path) == 0)
        slow_waits = 1;
    note("mkdir", begin, result, path);
    errno = kept;
    return result;
}
