"""Linux system calls that Python does not wrap, made by ctypes. Each raises OSError on failure, naming the call."""

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from functools import partial

MACHINE = platform.machine()

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
CAP_DAC_READ_SEARCH, _LAST_CAPABILITY = 2, 63

# Calls that libc does not wrap. New ones have the same number on every machine; -1 fails with ENOSYS.
_NUMBERS = {
    "capset": {"x86_64": 126, "aarch64": 91}.get(MACHINE, -1),
    "pivot_root": {"x86_64": 155, "aarch64": 41}.get(MACHINE, -1),
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

_libc = ctypes.CDLL(None, use_errno=True)
# Unlike CDLL, PyDLL holds the GIL during the call, so the forked child owns it too.
_libc_with_gil = ctypes.PyDLL(None, use_errno=True)


def _checked(name: str, status: int) -> int:
    if status == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return status


def prepare(name: str, *arguments: object) -> Callable[[], int]:
    """A call of a libc function or raw system call, to be made by a process that has just been forked.

    Names are looked up and arguments converted before the fork, as any write to shared memory copies a page.
    """
    raw = name in _NUMBERS
    function = _libc["syscall" if raw else name]
    function.restype = partial(_checked, name)
    values = [_NUMBERS[name], *arguments] if raw else arguments
    # ctypes would pass the variadic arguments of `syscall` and `prctl` as 32-bit ints, and the kernel reads 64 bits.
    return partial(function, *(ctypes.c_long(value) if isinstance(value, int) else value for value in values))


def call(name: str, *arguments: object) -> int:
    """Make the call at once."""
    return prepare(name, *arguments)()


def prepare_prctl(option: int, *arguments: object) -> Callable[[], int]:
    """A call of prctl, see `prepare`. The kernel refuses some options unless unused arguments are 0."""
    return prepare("prctl", option, *[*arguments, 0, 0, 0, 0][:4])


def fork() -> int:
    """Fork without Python's hooks, which are for threads and slow; only if there has never been a second thread."""
    return _checked("fork", _libc_with_gil.fork()) if sys.platform == "linux" else os.fork()


def prepare_capset(mask: int) -> Callable[[], int]:
    """A call that gives up every capability whose bit is not in `mask` (below bit 32)."""
    # Version 3 of the interface, this process; effective, permitted and inheritable, for bits below 32 and from there.
    return prepare("capset", struct.pack("Ii", 0x20080522, 0), struct.pack("6I", mask, mask, 0, 0, 0, 0))


def drop_bounding_set() -> None:
    """Remove every capability from the bounding set, as far as the process may."""
    # It ends past the kernel's last capability, or if the process may not: then it has none to lose.
    with contextlib.suppress(OSError):
        for capability in range(_LAST_CAPABILITY + 1):
            prepare_prctl(PR_CAPBSET_DROP, capability)()
