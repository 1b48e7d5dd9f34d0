"""The Linux system calls that Python does not wrap, by ctypes."""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from functools import partial

MACHINE = platform.machine()

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

CAP_DAC_READ_SEARCH = 2
LAST_CAPABILITY = 63

# The same number on x86_64 and aarch64, except for those in the table below.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
SYS_MOUNT_SETATTR = 442
SYS_CAPSET, SYS_PIVOT_ROOT = {"x86_64": (126, 155), "aarch64": (91, 41)}.get(MACHINE, (-1, -1))

_libc = ctypes.CDLL(None, use_errno=True)
# Keeps Python's global lock over a call: its one thread goes on in the child as it was.
_python_libc = ctypes.PyDLL(None, use_errno=True)


def _checked(name: str, status: int) -> int:
    if status == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return status


def _raised(status: int) -> int:
    return _checked("system call", status)


def _ready(name: str, *arguments: object) -> Callable[[], int]:
    function = _libc[name]
    function.restype = _raised
    return partial(function, *arguments)


def ready_syscall(number: int, *arguments: object) -> Callable[[], int]:
    """A raw system call for a process to make that has just been forked; it raises OSError.

    Whatever such a process writes to, be it the count of references to a name, costs the copy of a page. So arguments
    are made before it is forked, and it looks nothing up.
    """
    return _ready("syscall", *(ctypes.c_long(a) if isinstance(a, int) else a for a in (number, *arguments)))


def ready_prctl(option: int, *arguments: object) -> Callable[[], int]:
    """A call of prctl; see `ready_syscall`."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _ready("prctl", option, *(ctypes.c_ulong(a) if isinstance(a, int) else a for a in padded))


def fork() -> int:
    """Fork without Python's hooks, for a process that has only ever had one thread; raises OSError.

    The hooks make the locks and names of threads anew, and write to so many pages in doing so that it costs the child
    more than all else between its fork and its first instruction.
    """
    return _checked("fork", _python_libc.fork()) if sys.platform == "linux" else os.fork()


def syscall(name: str, number: int, *arguments: object) -> int:
    """Make a raw system call; raises OSError naming it."""
    ctypes.set_errno(0)
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(name, _libc.syscall(ctypes.c_long(number), *plain))


def prctl(option: int, *arguments: int) -> int:
    """Call prctl with unsigned long arguments; raises OSError."""
    return ready_prctl(option, *arguments)()


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags`; raises OSError where the kernel or a container forbids it."""
    _checked("unshare", _libc.unshare(flags))


def setns(process: int, flags: int) -> None:
    """Go to those namespaces of the process behind a process descriptor; raises OSError (before Linux 5.8, too)."""
    _checked("setns", _libc.setns(process, flags))


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`; raises OSError."""
    status = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _checked(f"mount({target})", status)


def unmount_lazily(target: str) -> None:
    """Detach the mount at `target`, and all below it; raises OSError."""
    _checked(f"umount2({target})", _libc.umount2(target.encode(), 2))


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns_fd")]


def make_read_only(target: str) -> None:
    """Make the mount at `target`, and all below it, read-only, without set-user-id; raises OSError."""
    attributes = _MountAttributes(set=0x1 | 0x2)  # MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID
    at_fdcwd, recursive = -100, 0x8000
    syscall(
        "mount_setattr",
        SYS_MOUNT_SETATTR,
        at_fdcwd,
        target.encode(),
        recursive,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )


def pivot_root(new_root: str) -> None:
    """Make `new_root`, a mount point, the root, and let go of the old one; raises OSError."""
    os.chdir(new_root)
    # Stacking the old root on the new one's mount point needs no directory to put it in (man 2 pivot_root).
    syscall("pivot_root", SYS_PIVOT_ROOT, b".", b".")
    unmount_lazily(".")
    os.chdir("/")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilityData(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


def ready_capset(mask: int) -> Callable[[], int]:
    """A call that gives up every capability whose bit is not in `mask` (below bit 32); see `ready_syscall`."""
    header = _CapabilityHeader(version=0x20080522, pid=0)
    sets = (_CapabilityData * 2)(_CapabilityData(effective=mask, permitted=mask))
    return ready_syscall(SYS_CAPSET, ctypes.byref(header), ctypes.byref(sets))


def drop_bounding_set() -> None:
    """Take every capability out of the bounding set, as far as the process may."""
    for capability in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # past the kernel's last capability, or not allowed to: then it has none to lose
            return
