"""Namespaces: a private network, IPC, process list and root. OSError if the kernel or a container forbids it."""

import os
import struct

from mot_trl.sandbox.syscalls import call

_NEW_MOUNTS, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PIDS, _NEW_NETWORK = 0x20000000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_DETACH, _READ_ONLY, _NO_SET_USER_ID = 0x2, 0x1, 0x2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

# Python needs nothing below it, so the new root can be built on top of it.
_SCRATCH = "/proc"


def enter() -> None:
    """Move this process to new user (unless root), network, IPC and mount namespaces."""
    user, group = os.geteuid(), os.getegid()
    # Root keeps its user namespace: in a new one, it could not give guests another user's id.
    call("unshare", _NEW_NETWORK | _NEW_IPC | _NEW_MOUNTS | (0 if user == 0 else _NEW_USER))
    if user == 0:
        return
    # Without a map, the new user namespace knows this process as the overflow user, and mounts are refused. The kernel
    # lets an ordinary user write its group map only after giving up setgroups.
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{file}", "w") as handle:
            handle.write(line)


def enter_private_pids(own: int = -1) -> None:
    """Make the next child the first process of its own process list: when it dies, so do all others on it.

    From the second time on, it needs `own`, a process descriptor of this process, itself on a list made this way.
    """
    if own >= 0:
        call("setns", own, _NEW_PIDS)
    call("unshare", _NEW_PIDS)


def build_private_root(paths: list[str]) -> None:
    """In a private mount namespace, replace the root by a read-only one that holds only `paths`; this hides /proc."""
    # Else the mounts below would show up in the machine's own mount namespace.
    _mount("none", "/", flags=_RECURSIVE | _PRIVATE)
    _mount("tmpfs", _SCRATCH, options="size=1m,mode=755")
    for path in filter(os.path.exists, paths):
        target = _SCRATCH + path
        # A bind mount needs something of its own kind to cover.
        os.makedirs(target if os.path.isdir(path) else os.path.dirname(target), exist_ok=True)
        if not os.path.isdir(path):
            os.close(os.open(target, os.O_CREAT))
        _mount(path, target, flags=_BIND | _RECURSIVE)
    attributes = struct.pack("4Q", _READ_ONLY | _NO_SET_USER_ID, 0, 0, 0)  # set, clear, propagation, userns_fd
    call("mount_setattr", _AT_FDCWD, _SCRATCH.encode(), _AT_RECURSIVE, attributes, len(attributes))
    os.chdir(_SCRATCH)
    call("pivot_root", b".", b".")  # stacks the old root on the new one's mount point: man 2 pivot_root
    call("umount2", b".", _DETACH)
    os.chdir("/")


def _mount(source: str, target: str, *, flags: int = 0, options: str | None = None) -> None:
    """Mount a file system of the type `source`, or with _BIND the path `source`."""
    try:
        call("mount", source.encode(), target.encode(), source.encode(), flags, options and options.encode())
    except OSError as error:
        error.filename = target
        raise
