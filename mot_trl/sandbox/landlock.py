"""Landlock: which files a process may read; all other access to files, TCP and signals is denied."""

import os
import struct
from collections.abc import Callable, Iterable

from mot_trl.sandbox.syscalls import call, prepare

_VERSION_QUERY, _PATH_RULE = 1, 1
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
# How many file rights the first versions of the interface know. The kernel refuses rights that it does not know.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_FILE_RIGHTS_SINCE_5 = 16
_TCP_BIND_AND_CONNECT = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


def version() -> int:
    """The kernel's Landlock interface version; 0 if it has none."""
    try:
        return call("landlock_create_ruleset", None, 0, _VERSION_QUERY)
    except OSError:
        return 0


def read_only(paths: Iterable[str]) -> int:
    """Create a ruleset under which `paths` can be read and nothing else done; return its file descriptor."""
    known = version()
    # A ruleset names the rights it handles; those that no rule gives back are denied.
    handled = [(1 << _FILE_RIGHTS.get(known, _FILE_RIGHTS_SINCE_5)) - 1]
    # Older kernels refuse a structure with fields that they do not know, so it grows with the version.
    handled += [_TCP_BIND_AND_CONNECT] * (known >= 4)
    handled += [_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS] * (known >= 6)
    rules = struct.pack(f"{len(handled)}Q", *handled)
    ruleset = call("landlock_create_ruleset", rules, len(rules), 0)
    for path in paths:
        _allow_reading(ruleset, path)
    return ruleset


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # no such file, nothing to allow
        return
    rights = _READ_FILE | _READ_DIRECTORY if os.path.isdir(path) else _READ_FILE
    try:
        call("landlock_add_rule", ruleset, _PATH_RULE, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def prepare_restrict(ruleset: int) -> Callable[[], int]:
    """A call that puts a process under the ruleset for good. It needs PR_SET_NO_NEW_PRIVS before."""
    return prepare("landlock_restrict_self", ruleset, 0)
