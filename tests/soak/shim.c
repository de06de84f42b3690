/* Loaded before libc (LD_PRELOAD): asks a hook before every call that writes below one folder.

   The hook says what becomes of the call: 0 it is made, an errno it fails with that, and one of three deaths by
   SIGKILL: before the call, after a half of what it writes, after the call. Without a hook nothing is changed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BEFORE = -1, HALF = -2, AFTER = -3 };
typedef int (*hook_t)(const char *operation, const char *path);

static hook_t hook;
static char root[4096];
static size_t length;
static __thread int busy;

void soak_watch(hook_t asked, const char *folder) {
    hook = asked;
    length = strlen(strncpy(root, folder, sizeof root - 1));
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

static int below(const char *path) { return !strncmp(path, root, length) && (path[length] == '/' || !path[length]); }

static void of_descriptor(int descriptor, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t got = readlink(link, path, size - 1);
    path[got < 0 ? 0 : got] = 0;
}

static void whole(int folder, const char *name, char *path, size_t size) {
    path[0] = 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) { if (!getcwd(path, size)) path[0] = 0; } else of_descriptor(folder, path, size);
        strncat(path, "/", size - strlen(path) - 1);
    }
    strncat(path, name, size - strlen(path) - 1);
}

/* What becomes of a call; the death before it happens here. */
static int ask(const char *operation, const char *path) {
    if (!below(path)) return 0;
    busy = 1;
    int answer = hook(operation, path);
    busy = 0;
    if (answer == BEFORE) die();
    return answer;
}

static int ask_at(const char *operation, int folder, const char *name) {
    if (!hook || busy || !name) return 0;
    char path[8192];
    whole(folder, name, path, sizeof path);
    return ask(operation, path);
}

static int ask_of(const char *operation, int descriptor) {
    if (!hook || busy) return 0;
    char path[8192];
    of_descriptor(descriptor, path, sizeof path);
    return ask(operation, path);
}

#define FINISH(call) \
    do { \
        if (answer > 0) { errno = answer; return -1; } \
        __typeof__(call) result = call; \
        if (answer < 0) die(); \
        return result; \
    } while (0)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        REAL(name); \
        int writes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC); \
        int answer = writes ? ask_at(flags & O_CREAT ? "create" : "open", AT_FDCWD, path) : 0; \
        FINISH(real(path, flags, mode)); \
    }
OPEN(open)
OPEN(open64)

#define OPEN_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        REAL(name); \
        int writes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) && !(flags & O_DIRECTORY); \
        int answer = writes ? ask_at(flags & O_CREAT ? "create" : "open", folder, path) : 0; \
        FINISH(real(folder, path, flags, mode)); \
    }
OPEN_AT(openat)
OPEN_AT(openat64)

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    int answer = ask_of("write", descriptor);
    if (answer == HALF) size /= 2;
    FINISH(real(descriptor, data, size));
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(writev);
    int answer = ask_of("write", descriptor);
    if (answer == HALF) count = (count + 1) / 2;
    FINISH(real(descriptor, parts, count));
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    int answer = ask_of("write", descriptor);
    if (answer == HALF) size /= 2;
    FINISH(real(descriptor, data, size, at));
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    int answer = ask_of("write", fileno(file));
    if (answer > 0) { errno = answer; return 0; }
    size_t result = real(data, size, answer == HALF ? count / 2 : count, file);
    if (answer < 0) { fflush(file); die(); }
    return result;
}

int fsync(int descriptor) { REAL(fsync); int answer = ask_of("fsync", descriptor); FINISH(real(descriptor)); }
int fdatasync(int descriptor) { REAL(fdatasync); int answer = ask_of("fsync", descriptor); FINISH(real(descriptor)); }
int ftruncate64(int descriptor, off64_t size) {
    REAL(ftruncate64); int answer = ask_of("truncate", descriptor); FINISH(real(descriptor, size));
}
int ftruncate(int descriptor, off_t size) {
    REAL(ftruncate); int answer = ask_of("truncate", descriptor); FINISH(real(descriptor, size));
}

int rename(const char *from, const char *to) {
    REAL(rename); int answer = ask_at("rename", AT_FDCWD, to); FINISH(real(from, to));
}
int renameat(int f, const char *from, int t, const char *to) {
    REAL(renameat); int answer = ask_at("rename", t, to); FINISH(real(f, from, t, to));
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir); int answer = ask_at("mkdir", AT_FDCWD, path); FINISH(real(path, mode));
}
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat); int answer = ask_at("mkdir", folder, path); FINISH(real(folder, path, mode));
}
int unlink(const char *path) { REAL(unlink); int answer = ask_at("unlink", AT_FDCWD, path); FINISH(real(path)); }
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat); int answer = ask_at("unlink", folder, path); FINISH(real(folder, path, flags));
}
int rmdir(const char *path) { REAL(rmdir); int answer = ask_at("rmdir", AT_FDCWD, path); FINISH(real(path)); }
int chmod(const char *path, mode_t mode) {
    REAL(chmod); int answer = ask_at("chmod", AT_FDCWD, path); FINISH(real(path, mode));
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    REAL(fchmodat); int answer = ask_at("chmod", folder, path); FINISH(real(folder, path, mode, flags));
}
