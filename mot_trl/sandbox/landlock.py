"""Which files a guest may read, and Landlock, which denies it all others, TCP and signals."""

import os
import struct
import sys
import sysconfig
from collections.abc import Iterable

from mot_trl.sandbox.syscalls import call

_VERSION_QUERY, _PATH_RULE = 1, 1
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
# How many file rights the first versions of the interface know. The kernel refuses rights that it does not know.
_FILE_RIGHTS, _FILE_RIGHTS_SINCE_5 = {1: 13, 2: 14, 3: 15, 4: 15}, 16
_TCP_BIND_AND_CONNECT, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11


def readable_paths() -> list[str]:
    """Existing absolute paths, none below another, both as written and with symbolic links resolved."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    shared = [os.path.join(sys.base_prefix, name) for name in ("lib", "lib64")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    data = ["/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom"]
    configured = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    wanted = [*python, *shared, *system, *data, *configured]
    # "/" would allow everything: an empty prefix or a stray LD_LIBRARY_PATH must not lead there.
    absolute = {path.rstrip("/") for path in wanted if path.startswith("/") and path != "/" and os.path.exists(path)}
    absolute |= {os.path.realpath(path) for path in absolute}
    return sorted(path for path in absolute - {"/"} if not _below(path, absolute - {path}))


def keep_readable_imports(paths: list[str]) -> None:
    """Remove from `sys.path` what a guest could not read anyway: each failed look-up would cost it a system call."""
    sys.path[:] = [entry for entry in sys.path if _below(entry + "/", set(paths))]
    sys.path_importer_cache.clear()


def _below(path: str, paths: set[str]) -> bool:
    return any(path.startswith(other + "/") for other in paths)


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
    for path in filter(os.path.exists, paths):
        rights = _READ_FILE | _READ_DIRECTORY if os.path.isdir(path) else _READ_FILE
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        call("landlock_add_rule", ruleset, _PATH_RULE, struct.pack("=Qi", rights, opened), 0)
        os.close(opened)
    return ruleset
