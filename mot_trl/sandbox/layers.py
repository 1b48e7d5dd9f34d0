"""The layers around a program: prepared once in the zygote, put on in each program's process."""

import contextlib
import fcntl
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import NoReturn

from mot_trl.sandbox import kernel, landlock, namespaces, paths, seccomp

ALL = ("rlimits", "no_new_privs", "uid", "landlock", "seccomp", "namespaces", "pids", "root")
CHANNEL_FD = 3
_RULESET_FD = 4

# systemd hands out ids of this range for a service's lifetime, so nobody's files have them.
_FIRST_UID, _UIDS = 64_000, 1_000
_MAX_THREADS = 64
_STACK_BYTES = 64 << 20
_MAX_FILES = 64
# What an ordinary user's other programs may start before a program's threads are refused.
_SPARE_TASKS = 1_000


class LayerError(Exception):
    """A layer that this machine does not give."""

    def __init__(self, layer: str, reason: object) -> None:
        """Name the layer, out of `ALL`, and say why."""
        super().__init__(f"{layer}: {reason}")
        self.layer, self.reason = layer, str(reason)


@dataclass(frozen=True)
class Confinement:
    """What each program's process puts on.

    Args:
        active: Names out of `ALL`.
        missing: For each other name, the reason.
        ruleset: Landlock's file descriptor, or -1.
        filter: The system call filter, where it can be assembled before the process is there.
        memory_bytes: Address space of a program's process, with what it was forked with.
        max_processes: Of this user, with threads; -1 sets no bound.
        timeout: Seconds; a program may use no more processor time than twice this.
        read_any: Keep the capability to read what Landlock allows, though its owner does not. Root only, for a Python
            that lies in a directory closed to others.
    """

    active: frozenset[str]
    missing: dict[str, str] = field(default_factory=dict)
    ruleset: int = -1
    filter: seccomp.Filter | None = None
    memory_bytes: int = 1 << 29
    max_processes: int = -1
    timeout: float = 5.0
    read_any: bool = False

    def without(self, layer: str, reason: str) -> "Confinement":
        """The same, less one layer."""
        return replace(self, active=self.active - {layer}, missing={**self.missing, layer: reason})


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
    confinement = replace(confinement, max_processes=_max_processes(confinement))
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


def _max_processes(confinement: Confinement) -> int:
    """RLIMIT_NPROC counts all of a user's tasks: a bound for one program needs a user of its own, or a head count."""
    if os.geteuid() == 0:
        return _MAX_THREADS if "uid" in confinement.active else -1
    tasks = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                tasks += len(os.listdir(f"/proc/{entry.name}/task"))
    return tasks + _SPARE_TASKS + _MAX_THREADS


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
        confinement = replace(confinement, filter=seccomp.Filter(1))  # the first process of its own list
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
            confine_zygote(confinement)
            channel = arrange_files(confinement, channel)
            confine(confinement)
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


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def arrange_files(confinement: Confinement, channel: int) -> int:
    """Close every file but `channel`, which becomes CHANNEL_FD, and point 0 to 2 at /dev/null."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, _MAX_FILES // 2) for file in (channel, confinement.ruleset) if file >= 0]
    null = os.open("/dev/null", os.O_RDWR)
    for file in range(3):
        os.dup2(null, file)
    for file, source in zip((CHANNEL_FD, _RULESET_FD), high, strict=False):
        os.dup2(source, file, inheritable=False)
    os.closerange(CHANNEL_FD + len(high), 1 << 16)
    return CHANNEL_FD


def confine_zygote(confinement: Confinement) -> None:
    """Put on the zygote what each program's process can inherit: cheaper than once for each. Raises LayerError."""
    if "rlimits" in confinement.active:
        _tried_layer("rlimits", lambda: _limit_resources(confinement))
    if "no_new_privs" in confinement.active:
        _tried_layer("no_new_privs", lambda: kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1))


def confine(confinement: Confinement) -> None:
    """Put the rest on this process, a child of the zygote, after `arrange_files`. Raises LayerError."""
    os.setpgid(0, 0)
    if "rlimits" in confinement.active:
        # Not the zygote's: its own time would count against it.
        seconds = math.ceil(2 * confinement.timeout) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if sys.platform != "linux":
        return
    if "uid" in confinement.active:
        _tried_layer("uid", lambda: _become_nobody(confinement.read_any))
    kernel.keep_capabilities((1 << kernel.CAP_DAC_READ_SEARCH) if confinement.read_any else 0)
    # A change of user id clears this, so it comes after. The supervisor waits for a sign of life, then it holds.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    if "landlock" in confinement.active:
        _tried_layer("landlock", lambda: landlock.restrict(_RULESET_FD))
        os.close(_RULESET_FD)
    if "seccomp" in confinement.active:
        _tried_layer("seccomp", lambda: (confinement.filter or seccomp.Filter(os.getpid())).install())


def _tried_layer(layer: str, put_on: Callable[[], object]) -> None:
    try:
        put_on()
    except (OSError, ValueError) as error:
        raise LayerError(layer, error) from None


def _limit_resources(confinement: Confinement) -> None:
    limits = {
        "AS": confinement.memory_bytes,
        "FSIZE": 0,
        "NOFILE": _MAX_FILES,
        "CORE": 0,
        "STACK": _STACK_BYTES,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "NPROC": confinement.max_processes,
    }
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None and limit >= 0:
            hard = resource.getrlimit(kind)[1]
            bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(kind, (bound, bound))


def _become_nobody(read_any: bool) -> None:
    nobody = _FIRST_UID + os.getppid() % _UIDS if os.getppid() else _FIRST_UID
    if read_any:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(nobody, nobody, nobody)
    os.setresuid(nobody, nobody, nobody)
