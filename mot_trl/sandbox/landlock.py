"""Landlock: which files a process may read, and that it may do nothing else with files, TCP or signals."""

import ctypes
import os
from collections.abc import Callable, Iterable

from mot_trl.sandbox import syscalls as kernel

_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
# How many file rights each version of the interface knows: asking for more is refused.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_SINCE_5 = 16
_TCP_BIND_AND_CONNECT = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("directory", ctypes.c_int32)]


def version() -> int:
    """The kernel's Landlock interface version; 0 where there is none."""
    try:
        return kernel.syscall("landlock", kernel.SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def read_only(paths: Iterable[str]) -> int:
    """A ruleset's file descriptor that lets `paths` be read, and no more than that be done. Raises OSError."""
    known = version()
    rules = _Ruleset(files=(1 << _FILE_RIGHTS.get(known, _FILE_RIGHTS_SINCE_5)) - 1)
    if known >= 4:
        rules.net = _TCP_BIND_AND_CONNECT
    if known >= 6:
        rules.scoped = _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS
    # Older kernels refuse fields they do not know, unless they are not part of the structure.
    size = {1: 8, 2: 8, 3: 8, 4: 16, 5: 16}.get(known, ctypes.sizeof(rules))
    ruleset = kernel.syscall("landlock", kernel.SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), size, 0)
    for path in paths:
        _allow_reading(ruleset, path)
    return ruleset


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there: nothing to allow
        return
    rights = _READ_FILE | _READ_DIRECTORY if os.path.isdir(path) else _READ_FILE
    rule = _PathRule(allowed=rights, directory=opened)
    try:
        kernel.syscall("landlock", kernel.SYS_LANDLOCK_ADD_RULE, ruleset, 1, ctypes.byref(rule), 0)
    finally:
        os.close(opened)


def ready_restrict(ruleset: int) -> Callable[[], int]:
    """A call that puts a process under the ruleset for good; needs PR_SET_NO_NEW_PRIVS before. Raises OSError."""
    return kernel.ready_syscall(kernel.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
