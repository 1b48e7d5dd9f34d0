"""The system call filter: an allow-list of what Python needs; everything else fails or kills."""

import ctypes
import errno
import struct
from collections.abc import Callable

from mot_trl.sandbox import syscalls

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_MODE_FILTER = 2
_X32_BIT = 0x40000000
_NEWEST_KNOWN = 434

# The machines whose system call numbers the tables hold, in the order of their columns, as the kernel calls them.
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

Instruction = tuple[int, int, int, int]


def _table(*lines: str) -> dict[str, dict[str, str]]:
    """Each call's numbers, by machine, from "name x86_64 aarch64, ..."; "-" where the machine has no such call."""
    calls = (call.split() for line in lines for call in line.split(", "))
    return {name: dict(zip(MACHINES, numbers, strict=True)) for name, *numbers in calls}


# Left out, so denied:
# - sockets, System V IPC and message queues reach the network and other processes;
# - ptrace, process_vm_* and pidfd_* reach into other processes;
# - execve and fork would start other programs;
# - chmod, chown, utime and xattr calls change files in ways that Landlock does not know;
# - mounts, namespaces, set*id and setrlimit could undo other layers;
# - io_uring makes calls that no filter sees; bpf, perf, keyctl and userfaultfd are large, with a history of holes.
_PLAIN = _table(
    # Open files, and opening them: which ones, and that they are not written to, is for Landlock and RLIMIT_FSIZE.
    "read 0 63, write 1 64, open 2 -, close 3 57, lseek 8 62, pread64 17 67, readv 19 65, writev 20 66, dup 32 23",
    "openat 257 56, getdents64 217 61, fadvise64 221 223, close_range 436 436",
    # Names and sizes: imports look for files in many places.
    "stat 4 -, fstat 5 80, lstat 6 -, access 21 -, getcwd 79 17, readlink 89 -, newfstatat 262 79, readlinkat 267 78",
    "faccessat 269 48, statx 332 291, faccessat2 439 439",
    # Memory of one's own.
    "mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214, mremap 25 216, madvise 28 233",
    # Waiting, for a channel, a lock or a clock.
    "poll 7 -, select 23 -, pselect6 270 72, ppoll 271 73, futex 202 98, sched_yield 24 124, nanosleep 35 101",
    "clock_nanosleep 230 115, restart_syscall 219 128",
    # Signal handlers and timers, whose signals reach only this process.
    "rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132",
    "getitimer 36 102, alarm 37 -, setitimer 38 103",
    # Threads, once made: see `clone`.
    "arch_prctl 158 -, set_tid_address 218 96, set_robust_list 273 99, rseq 334 293, membarrier 324 283",
    "exit 60 93, exit_group 231 94, wait4 61 260",
    # Facts about this process and its machine.
    "getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174, getgid 104 176, geteuid 107 175, getegid 108 177",
    "getrlimit 97 163, getrusage 98 165, times 100 153, sched_getaffinity 204 123, getcpu 309 168",
    "uname 63 160, sysinfo 99 179, getrandom 318 278",
    "gettimeofday 96 169, time 201 -, clock_gettime 228 113, clock_getres 229 114",
)
_CHECKED = _table(
    "clone 56 220, fcntl 72 25, ioctl 16 29, kill 62 129, tgkill 234 131, prctl 157 167",
    "prlimit64 302 261, clone3 435 435",
)

# glibc's and musl's flags for a thread. Anything else that clone can make is a process.
_THREAD_FLAGS = (0x3D0F00, 0x7D0F00)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. Not F_SETOWN, F_SETSIG or F_SETLEASE: with these, the
# kernel sends signals to processes that `kill` could not reach.
_FCNTL = (0, 1, 2, 3, 4, 1030)
# PR_SET_NAME, PR_GET_NAME. Not PR_SET_DUMPABLE or PR_SET_PDEATHSIG, which would undo what `apply` has set.
_PRCTL = (15, 16)


def numbers(table: dict[str, dict[str, str]]) -> dict[str, int]:
    """The numbers of a table's calls on this machine."""
    return {name: int(row[syscalls.MACHINE]) for name, row in table.items() if row[syscalls.MACHINE] != "-"}


def _fail(code: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | code)


def _only_for(number: int, body: list[Instruction]) -> list[Instruction]:
    """`body`, which must end in a return, run for this value only."""
    return [(_JUMP_EQUAL, 0, len(body), number), *body]


def _one_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow if argument `index` is one of `values`. Its low half decides: the kernel reads no more of these."""
    tests = [step for value in values for step in _only_for(value, [(_RETURN, 0, 0, _ALLOW)])]
    return [(_LOAD, 0, 0, _ARGUMENTS + 8 * index), *tests, _fail(errno.EPERM)]


def _checks(pid: int) -> dict[str, list[Instruction]]:
    """For each call in `_CHECKED`, what decides on its arguments."""
    low, high = (_LOAD, 0, 0, _ARGUMENTS + 16), (_LOAD, 0, 0, _ARGUMENTS + 20)  # the halves of argument 2
    null_pointer = [low, (_JUMP_EQUAL, 0, 2, 0), high, (_JUMP_EQUAL, 1, 0, 0), _fail(errno.EPERM)]
    return {
        "clone": _one_of(0, _THREAD_FLAGS),
        "fcntl": _one_of(1, _FCNTL),
        "ioctl": [_fail(errno.ENOTTY)],  # Python takes it for "not a terminal"
        "kill": _one_of(0, (pid,)),
        "tgkill": _one_of(0, (pid,)),
        "prctl": _one_of(0, _PRCTL),
        # Limits may be read, never set: a new limit comes by a pointer that is not null.
        "prlimit64": [*null_pointer, *_one_of(0, (0, pid))],
        # A filter cannot read the flags behind clone3's pointer; glibc falls back to clone on ENOSYS.
        "clone3": [_fail(errno.ENOSYS)],
    }


def instructions(pid: int) -> list[Instruction]:
    """The filter as (code, jump if true, jump if false, constant), for a process whose own process id is `pid`."""
    # The same number means another call on another architecture, so the architecture is checked first: an x86_64
    # process can make 32-bit calls by int 0x80, and x32 calls by a bit in the number.
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, MACHINES[syscalls.MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if syscalls.MACHINE == "x86_64":
        program += [(_JUMP_GREATER_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL)]
    plain = numbers(_PLAIN).values()
    # All jump to one return: the kernel compiles the filter for each guest process, so it should be short.
    program += [(_JUMP_EQUAL, left, 0, number) for left, number in zip(range(len(plain), 0, -1), plain, strict=True)]
    program += [(_JUMP, 0, 0, 1), (_RETURN, 0, 0, _ALLOW)]
    checks = _checks(pid)
    for name, number in numbers(_CHECKED).items():
        program += _only_for(number, checks[name])
    # Libraries probe for new system calls and expect ENOSYS if there are none.
    program += [(_JUMP_GREATER_EQUAL, 0, 1, _NEWEST_KNOWN), _fail(errno.ENOSYS), _fail(errno.EPERM)]
    return program


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def prepare_filter(pid: int) -> Callable[[], int]:
    """A call that filters the system calls of process `pid` for good, after PR_SET_NO_NEW_PRIVS; slow to prepare."""
    steps = instructions(pid)
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    return syscalls.prepare_prctl(syscalls.PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
