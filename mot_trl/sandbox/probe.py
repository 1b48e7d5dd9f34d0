"""Which layers this machine gives: the zygote is put into its namespaces, and a child tries all the rest on."""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Collection
from dataclasses import replace
from typing import NoReturn

from mot_trl.sandbox import apply as confine
from mot_trl.sandbox import landlock, namespaces, paths, seccomp
from mot_trl.sandbox import syscalls as kernel
from mot_trl.sandbox.config import ALL, FIRST_UID, MAX_THREADS, UIDS, USERS_PER_ZYGOTE, Confinement, LayerError

# What an ordinary user's other programs may start before a program's threads are refused.
_SPARE_TASKS = 1_000


def prepare(wanted: Collection[str], *, memory_bytes: int, timeout: float) -> Confinement:
    """Put the zygote itself into its namespaces and root, and find out, by trying, what else this machine gives.

    Args:
        wanted: Names out of `ALL`.
        memory_bytes: Address space a program may add to what it was forked with.
        timeout: Seconds.
    """
    confinement = Confinement(frozenset(ALL), memory_bytes=memory_bytes + _address_space(), timeout=timeout)
    for layer in ALL:
        if layer not in wanted:
            confinement = confinement.without(layer, "switched off")
    if sys.platform != "linux":
        for layer in set(ALL) - {"rlimits"}:
            confinement = confinement.without(layer, "Linux only")
        return confinement
    if os.geteuid() != 0:
        confinement = confinement.without("uid", "only root can give programs another user's id")
    confinement = replace(confinement, max_processes=_max_processes(confinement), first_user=_first_user())
    allowed = paths.readable()
    paths.keep_readable_imports(allowed)
    confinement = _enter_namespaces(confinement, allowed)
    # The zygote needs its capabilities for every fork; no process can get them back once it has dropped them.
    kernel.drop_bounding_set()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    confinement = _prepare_filters(confinement, allowed)
    return _tried(confinement)


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def _first_user() -> int:
    groups = UIDS // USERS_PER_ZYGOTE
    return FIRST_UID + os.getpid() % groups * USERS_PER_ZYGOTE


def _max_processes(confinement: Confinement) -> int:
    """RLIMIT_NPROC counts all of a user's tasks: a bound for one program needs a user of its own, or a head count."""
    if os.geteuid() == 0:
        return MAX_THREADS if "uid" in confinement.active else -1
    tasks = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                tasks += len(os.listdir(f"/proc/{entry.name}/task"))
    return tasks + _SPARE_TASKS + MAX_THREADS


def _enter_namespaces(confinement: Confinement, allowed: list[str]) -> Confinement:
    if "namespaces" in confinement.active:
        try:
            namespaces.enter()
        except OSError as error:
            confinement = confinement.without("namespaces", str(error))
    if "namespaces" not in confinement.active:
        for layer in {"pids", "root"} & confinement.active:
            confinement = confinement.without(layer, "needs namespaces")
    if "root" in confinement.active:
        try:
            namespaces.build_private_root(allowed)
        except OSError as error:
            confinement = confinement.without("root", str(error))
    return confinement


def _prepare_filters(confinement: Confinement, allowed: list[str]) -> Confinement:
    if "seccomp" in confinement.active and not seccomp.supported():
        confinement = confinement.without("seccomp", f"no table of system calls for {kernel.MACHINE}")
    if {"seccomp", "pids"} <= confinement.active:
        confinement = replace(confinement, filter=seccomp.ready_filter(1))  # the first process of its own list
    if "landlock" in confinement.active:
        if not landlock.version():
            return confinement.without("landlock", "not in this kernel")
        return replace(confinement, ruleset=landlock.read_only(allowed))
    return confinement


def _tried(confinement: Confinement) -> Confinement:
    """`confinement` less what does not work: a child puts it on and tells, until one comes through."""
    while (failure := _try(confinement)) is not None:
        layer, reason = failure
        if layer == "reading" and "landlock" in confinement.active and not confinement.read_any:
            confinement = replace(confinement, read_any=True)
        else:
            confinement = confinement.without("uid" if layer == "reading" else layer, reason)
    return confinement


def _try(confinement: Confinement) -> tuple[str, str] | None:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _put_on_and_tell(confinement, theirs.detach())
    theirs.close()
    with ours:
        answer = ours.recv(4096).decode()
    os.waitpid(child, 0)
    if answer == "ok":
        return None
    layer, _, reason = answer.partition("\n")
    if layer not in (*confinement.active, "reading"):
        raise RuntimeError(f"A process could not be confined: {reason or 'it died while trying'}.")
    return layer, reason


def _put_on_and_tell(confinement: Confinement, channel: int) -> NoReturn:
    with contextlib.suppress(BaseException):
        try:
            if "pids" in confinement.active:
                enter_private_pids()
                _continue_in_child()  # as the zygote
                enter_private_pids(os.pidfd_open(os.getpid()))
                _continue_in_child()  # as a program's process
            confine.put_on(confine.for_zygote(confinement))
            (channel,) = confine.arrange_files(confinement, channel)
            channel = os.dup2(channel, confine.CHANNEL_FD)
            confine.put_on(confine.for_program(confinement, 0))
            _check_reading()
            os.write(channel, b"ok")
        except LayerError as error:
            os.write(channel, f"{error.layer}\n{error.reason}".encode()[:4096])
        except BaseException as error:
            os.write(channel, f"\n{error!r}".encode()[:4096])
    os._exit(0)


def _check_reading() -> None:
    try:
        with open(os.__file__, "rb") as file:
            file.read(1)
    except OSError as error:
        raise LayerError("reading", f"a process with its own user id cannot read Python: {error}") from None


def _continue_in_child() -> None:
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)


def enter_private_pids(own: int = -1) -> None:
    """Give the next child a process list of its own; see `namespaces`. Raises LayerError."""
    try:
        namespaces.enter_private_pids(own)
    except OSError as error:
        raise LayerError("pids", error) from None
