"""Namespaces: a private network, IPC, process list, and a root directory with nothing in it but Python."""

import contextlib
import os

from mot_trl.sandbox import syscalls as kernel

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PIDS, _NEW_NETWORK = 0x20000000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18

# Nothing that Python needs lies below it, so it can be hidden while the new root is built.
_SCRATCH = "/proc"


def enter() -> None:
    """Move this process to new user (unless root), network, IPC and mount namespaces. Raises OSError."""
    user, group = os.geteuid(), os.getegid()
    flags = _NEW_NETWORK | _NEW_IPC | _NEW_MOUNTS
    if user == 0:
        # Root keeps its user namespace: in a new one, untrusted programs could not be given another user's id.
        kernel.unshare(flags)
        return
    kernel.unshare(flags | _NEW_USER)
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{file}", "w") as handle:
            handle.write(line)


def enter_private_pids(own: int = -1) -> None:
    """Make the next child the first process of its own process list: when it dies, so do all others on it.

    Args:
        own: A process descriptor of this process, needed from the second time on. This process must then itself be
            on a list made this way: an ordinary user may not go back to the machine's.
    """
    if own >= 0:
        kernel.setns(own, _NEW_PIDS)
    kernel.unshare(_NEW_PIDS)


def build_private_root(paths: list[str]) -> None:
    """Make a small read-only file system, which holds `paths` and nothing else, the root. Raises OSError.

    Must run in a private mount namespace. /proc is hidden: open what you need of it before.
    """
    kernel.mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    kernel.mount("tmpfs", _SCRATCH, kind="tmpfs", options="size=1m,mode=755")
    for path in paths:
        _bind(path)
    kernel.make_read_only(_SCRATCH)
    kernel.pivot_root(_SCRATCH)


def _bind(path: str) -> None:
    target = _SCRATCH + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with contextlib.suppress(FileExistsError), open(target, "x"):
            pass
    else:
        return
    kernel.mount(path, target, flags=_BIND | _RECURSIVE)
