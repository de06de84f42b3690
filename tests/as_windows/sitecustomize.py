"""Takes from seedwise, on Linux, what Python on Windows lacks, and refuses what Windows refuses. On PYTHONPATH it acts
in a process and in all that it starts.

Only seedwise's own modules are confined: what it stands on (torch, numpy, filelock) has a Windows version of its own.
What Windows lacks is what Python's documentation says: "Availability: Unix", "not Windows".
"""

import builtins
import errno
import multiprocessing
import multiprocessing.context
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ABSENT = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline", "curses"}
"""Modules of the standard library for Unix only."""
OF_OS = {
    *("fork", "forkpty", "fchmod", "fchown", "chown", "lchown", "killpg", "getpgid", "getpgrp", "setpgid", "setsid"),
    *("getsid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "setuid", "setgid", "getresuid", "uname"),
    *("sysconf", "sysconf_names", "confstr", "getloadavg", "nice", "getpriority", "setpriority", "statvfs"),
    *("fstatvfs", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sched_getscheduler", "pread", "preadv"),
    *("pwrite", "pwritev", "readv", "writev", "sendfile", "splice", "copy_file_range", "posix_fadvise"),
    *("posix_fallocate", "memfd_create", "mkfifo", "mknod", "openpty", "ttyname", "tcgetpgrp", "posix_spawn"),
    *("posix_spawnp", "wait", "wait3", "wait4", "waitid", "WNOHANG", "WIFSIGNALED", "WTERMSIG", "fdatasync", "sync"),
    *("lockf", "chroot", "fchdir", "getxattr", "setxattr", "listxattr", "pidfd_open", "eventfd", "unshare"),
    *("O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "O_DSYNC", "O_CLOEXEC", "O_DIRECT", "O_NOATIME", "O_PATH"),
    *("register_at_fork", "get_blocking", "set_blocking", "environb", "getenvb", "cpu_count_affinity"),
}
OF_SIGNAL = {
    *("SIGKILL", "SIGHUP", "SIGSTOP", "SIGCONT", "SIGTSTP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD"),
    *("SIGPIPE", "SIGWINCH", "SIGTTIN", "SIGTTOU", "SIGXCPU", "SIGBUS", "alarm", "setitimer", "getitimer", "pause"),
    *("pthread_kill", "pthread_sigmask", "sigwait", "sigtimedwait", "siginterrupt", "sigpending", "SIG_BLOCK"),
}
OF_TIME = {"tzset", "clock_gettime", "clock_settime", "clock_getres", "pthread_getcpuclockid", "CLOCK_MONOTONIC"}
OF_SOCKET = {"AF_UNIX", "socketpair_unix", "send_fds", "recv_fds", "SO_REUSEPORT"}
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
"""What signal.signal takes on Windows, besides SIGBREAK."""
REFUSED = set('<>:"|?*\\') | {chr(code) for code in range(32)}
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789")}
LOG = os.environ.get("AS_WINDOWS_LOG")
"""A file that gets a line for each refusal, also of those that somebody swallows."""
ROOT = os.environ.get("AS_WINDOWS_ROOT", "")
"""The folder in which names are held against Windows's rules."""

_real_open = os.open


class View(ModuleType):
    """A module without some names, and with some others in their place."""

    def __init__(self, module: ModuleType, absent: set[str], instead: dict[str, Any]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(_module=module, _absent=absent, _instead=instead)

    def __getattr__(self, name: str) -> Any:
        if name in self._absent:
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r} (on Windows)")
        return self._instead[name] if name in self._instead else getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)


def _refuse(error: OSError) -> OSError:
    if LOG:
        import traceback

        with open(LOG, "a", encoding="utf-8") as log:
            frames = traceback.extract_stack()[:-2]
            own = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "seedwise" in f.filename]
            log.write(f"{error}: {' '.join(own[-4:])}\n")
    return error


def _open(path: Any, flags: int, *rest: Any, **named: Any) -> int:
    if not isinstance(path, int) and os.path.isdir(path):
        raise _refuse(PermissionError(errno.EACCES, "a folder can't be opened (on Windows)", str(path)))
    return _real_open(path, flags, *rest, **named)


def _fsync(handle: int) -> None:
    import fcntl

    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise _refuse(OSError(errno.EBADF, "fsync of a file that is open for reading only (on Windows)"))
    os.fsync(handle)


def _signal(number: int, handler: Any) -> Any:
    import signal

    if signal.Signals(number).name not in SIGNALS:
        raise ValueError("invalid signal value (on Windows)")
    return signal.signal(number, handler)


def _no_symlink(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, "A required privilege is not held by the client (on Windows)")


def _views() -> dict[str, View]:
    import platform
    import signal
    import socket
    import time

    return {
        "os": View(os, OF_OS, {"name": "nt", "open": _open, "fsync": _fsync, "O_BINARY": 0, "symlink": _no_symlink}),
        "sys": View(sys, {"getdlopenflags", "setdlopenflags", "abiflags"}, {"platform": "win32"}),
        "signal": View(signal, OF_SIGNAL, {"signal": _signal}),
        "time": View(time, OF_TIME, {}),
        "socket": View(socket, OF_SOCKET, {}),
        "platform": View(platform, set(), {"system": lambda: "Windows"}),
    }


_import = builtins.__import__
_seen: dict[str, View] = {}


def _windows_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    if globals is not None and str(globals.get("__name__", "")).partition(".")[0] == "seedwise" and level == 0:
        if name in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} (on Windows)", name=name)
        if not _seen:
            _seen.update(_views())
        if name in _seen:
            return _seen[name]
    return _import(name, globals, locals, fromlist, level)


def _is_open(target: str) -> bool:
    """Whether a process of this user holds a file open or mapped."""
    real = os.path.realpath(target)
    for process in os.scandir("/proc"):
        if not process.name.isdecimal():
            continue
        try:
            if os.getsid(int(process.name)) != os.getsid(0):
                continue
            for handle in os.scandir(f"/proc/{process.name}/fd"):
                try:
                    if os.readlink(handle.path) == real:
                        return True
                except OSError:
                    continue
            with open(f"/proc/{process.name}/maps", "rb") as maps:
                if (" " + real + "\n").encode() in maps.read():
                    return True
        except OSError:
            continue
    return False


def _demand_closed(path: Any, folder: Any = None) -> None:
    if folder is not None:
        path = os.path.join(f"/proc/self/fd/{folder}", os.fspath(path))
    text = os.fsdecode(path)
    if _is_open(text):
        raise _refuse(PermissionError(errno.EACCES, "another process, or this one, has it open (on Windows)", text))
    if os.path.isdir(text) and not os.path.islink(text):
        for where, _, files in os.walk(text):
            for name in files:
                if _is_open(os.path.join(where, name)):
                    inside = os.path.join(where, name)
                    raise _refuse(PermissionError(errno.EACCES, "a file in it is open (on Windows)", inside))


def _demand_name(path: Any) -> None:
    """Refuse a new name that Windows refuses."""
    text = os.path.abspath(os.fsdecode(path))
    if not ROOT or not text.startswith(ROOT + os.sep):
        return
    for part in os.path.relpath(text, ROOT).split(os.sep):
        stem = part.partition(".")[0].rstrip(" ").lower()
        if part not in (".", "..") and (REFUSED & set(part) or part[-1] in ". " or stem in RESERVED):
            raise _refuse(
                OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", text)
            )


def _guard(name: str, sources: int, targets: int, replaces: bool) -> None:
    real = getattr(os, name)

    def guarded(*paths: Any, **named: Any) -> Any:
        for path in paths[:sources]:
            _demand_closed(path, named.get("dir_fd"))
        for path in paths[sources : sources + targets]:
            _demand_name(path)
            if os.path.lexists(path):
                if not replaces:
                    raise _refuse(FileExistsError(errno.EEXIST, "the target exists (on Windows)", os.fsdecode(path)))
                if os.path.isdir(path):
                    raise _refuse(
                        PermissionError(errno.EACCES, "the target is a folder (on Windows)", os.fsdecode(path))
                    )
                _demand_closed(path)
        return real(*paths, **named)

    guarded.__name__ = name
    setattr(os, name, guarded)
    for known in (os.supports_dir_fd, os.supports_follow_symlinks):
        if real in known:
            known.add(guarded)


def _guard_new(name: str) -> None:
    real = getattr(os, name)

    def guarded(path: Any, *rest: Any, **named: Any) -> Any:
        if not isinstance(path, int):
            flags = rest[0] if name == "open" and rest else os.O_CREAT
            if flags & os.O_CREAT and not os.path.lexists(path):
                _demand_name(path)
        return real(path, *rest, **named)

    guarded.__name__ = name
    setattr(os, name, guarded)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """`open()` to write: its name."""
    if event != "open" or not isinstance(arguments[0], str | bytes) or not isinstance(arguments[1], str):
        return
    if set(arguments[1]) & set("wxa") and not os.path.lexists(arguments[0]):
        _demand_name(arguments[0])


def act() -> None:
    builtins.__import__ = _windows_import  # type: ignore[assignment]
    contexts = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    for method in ("fork", "forkserver"):
        contexts.pop(method, None)
    multiprocessing.context._default_context._default_context = contexts["spawn"]  # type: ignore[attr-defined]
    multiprocessing.get_all_start_methods = lambda: ["spawn"]  # type: ignore[attr-defined]
    for name in ("unlink", "remove", "rmdir"):
        _guard(name, 1, 0, False)
    _guard("replace", 1, 1, True)
    _guard("rename", 1, 1, False)
    _guard_new("mkdir")
    sys.addaudithook(_audit)


act()
