"""The system call filter: a list of what Python needs; all the rest fails."""

import ctypes
import errno
import struct
from collections.abc import Callable

from mot_trl.sandbox import syscalls as kernel

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_X32_BIT = 0x40000000
_NEWEST_KNOWN = 434

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# glibc's and musl's flags for a thread. Anything else that clone can make is a process.
_THREAD_FLAGS = (0x3D0F00, 0x7D0F00)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC: no owner, no lease, no signal.
_FCNTL = (0, 1, 2, 3, 4, 1030)
_PRCTL = (15, 16)  # PR_SET_NAME, PR_GET_NAME

# name: (x86_64, aarch64); None where the machine has no such call.
_PLAIN: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "open": (2, None),
    "close": (3, 57),
    "stat": (4, None),
    "fstat": (5, 80),
    "lstat": (6, None),
    "poll": (7, None),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "access": (21, None),
    "select": (23, None),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getitimer": (36, 102),
    "alarm": (37, None),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "exit": (60, 93),
    "wait4": (61, 260),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlink": (89, None),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "arch_prctl": (158, None),
    "gettid": (186, 178),
    "time": (201, None),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "fadvise64": (221, 223),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "openat": (257, 56),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "set_robust_list": (273, 99),
    "getcpu": (309, 168),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "statx": (332, 291),
    "rseq": (334, 293),
    "close_range": (436, 436),
    "faccessat2": (439, 439),
}
_CHECKED = {
    "clone": (56, 220),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "clone3": (435, 435),
}

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether the filter knows this machine's system call numbers."""
    return kernel.MACHINE in _AUDIT


def _argument(index: int, *, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * high)


def _fail(code: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | code)


def _only_for(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body`, which must end in a return, run for this system call only."""
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _one_of(index: int, values: tuple[int, ...], otherwise: int) -> list[Instruction]:
    """Allow where the low half of argument `index` is one of `values`; the kernel reads no more of these."""
    allow: list[Instruction] = [(_RETURN, 0, 0, _ALLOW)]
    tests = [step for value in values for step in _only_for(value, allow)]
    return [_argument(index), *tests, _fail(otherwise)]


def instructions(pid: int) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, constant), for a process that knows itself as `pid`."""
    machine = list(_AUDIT).index(kernel.MACHINE)
    checked = {name: numbers[machine] for name, numbers in _CHECKED.items()}
    zero_pointer = [
        _argument(2),
        (_JUMP_EQUAL, 0, 2, 0),
        _argument(2, high=True),
        (_JUMP_EQUAL, 1, 0, 0),
        _fail(errno.EPERM),
    ]
    bodies = {
        "clone": _one_of(0, _THREAD_FLAGS, errno.EPERM),
        "fcntl": _one_of(1, _FCNTL, errno.EPERM),
        "ioctl": [_fail(errno.ENOTTY)],
        "kill": _one_of(0, (pid,), errno.EPERM),
        "tgkill": _one_of(0, (pid,), errno.EPERM),
        "prctl": _one_of(0, _PRCTL, errno.EPERM),
        # Limits may be read, never set.
        "prlimit64": [*zero_pointer, *_one_of(0, (0, pid), errno.EPERM)],
        # A filter cannot look behind clone3's pointer; glibc falls back to clone on ENOSYS.
        "clone3": [_fail(errno.ENOSYS)],
    }
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT[kernel.MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if kernel.MACHINE == "x86_64":
        program += [(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    plain = [number for numbers in _PLAIN.values() if (number := numbers[machine]) is not None]
    # All jump to one return: every program's process has the filter compiled for it anew, so it had better be short.
    program += [(_JUMP_EQUAL, left, 0, number) for left, number in zip(range(len(plain), 0, -1), plain, strict=True)]
    program += [(_JUMP, 0, 0, 1), (_RETURN, 0, 0, _ALLOW)]
    for name, body in bodies.items():
        program += _only_for(checked[name], body)
    # Libraries probe for new system calls and expect ENOSYS where there are none.
    program += [(_JUMP_GREATER_EQUAL, 0, 1, _NEWEST_KNOWN), _fail(errno.ENOSYS), _fail(errno.EPERM)]
    return program


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def ready_filter(pid: int) -> Callable[[], int]:
    """A call that filters the system calls of a process, which knows itself as `pid`, for good.

    It needs PR_SET_NO_NEW_PRIVS before. Raises OSError when called. Making it is worth doing once, before forking.
    """
    steps = instructions(pid)
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    return kernel.ready_prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, ctypes.byref(program))
