"""Find out which layers this machine provides: the zygote enters its namespaces, and a child tries the rest."""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import NoReturn

from mot_trl.sandbox import apply, landlock, namespaces, seccomp, syscalls
from mot_trl.sandbox.config import LAYERS, USERS_PER_ZYGOTE, LayerConfig, LayerError

_MAX_THREADS = 64
_SPARE_TASKS = 1_000  # what an ordinary user's other programs may start before a guest's threads are refused
_FIRST_UID, _UIDS = 64_000, 1_000  # systemd hands these ids out for a service's lifetime, so they own no files
_READING = "reading"  # not a layer: a guest with another user's id may be unable to read Python itself


def prepare(wanted: Collection[str], memory_bytes: int, *, timeout: float) -> LayerConfig:
    """Move this process into its namespaces and root, and find out, by trying, what else the machine provides.

    `memory_bytes` is the address space that a guest may add to what it was forked with. RuntimeError if a process
    cannot be confined, and no layer is to blame.
    """
    config = LayerConfig(memory_bytes=memory_bytes + _address_space(), timeout=timeout)
    config = config.without(*set(LAYERS) - set(wanted), reason="switched off")
    if sys.platform != "linux":
        return config.without(*set(LAYERS) - {"rlimits"}, reason="Linux only")
    if os.geteuid() != 0:
        config = config.without("uid", reason="only root can give programs another user's id")
    # Neighboring supervisors have neighboring process ids, so their zygotes' users differ.
    first_user = _FIRST_UID + os.getpid() % (_UIDS // USERS_PER_ZYGOTE) * USERS_PER_ZYGOTE
    config = replace(config, max_processes=_max_processes(config), first_user=first_user)
    allowed = landlock.readable_paths()
    landlock.keep_readable_imports(allowed)
    for layer, enter in ("namespaces", namespaces.enter), ("root", partial(namespaces.build_private_root, allowed)):
        try:
            if layer in config.active:
                enter()
        except OSError as error:
            config = config.without(layer, reason=str(error))
        if "namespaces" not in config.active:
            # Mounting in the machine's own mount namespace would change it for everyone.
            config = config.without("pids", "root", reason="needs namespaces")
    # The zygote needs its capabilities at every fork. No guest can regain them once it has dropped them.
    syscalls.drop_bounding_set()
    syscalls.prepare_prctl(syscalls.PR_SET_DUMPABLE, 0)()
    config = _prepare_filters(config, allowed)
    while (failure := _try(config)) is not None:
        config = _without_cause(config, *failure)
    return config


def _address_space() -> int:
    if sys.platform != "linux":
        return 1 << 30
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _max_processes(config: LayerConfig) -> int:
    """RLIMIT_NPROC counts all tasks of a user: limiting one guest takes a user of its own, or a head count."""
    if os.geteuid() == 0:
        return _MAX_THREADS if "uid" in config.active else -1
    tasks = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                tasks += len(os.listdir(f"/proc/{entry.name}/task"))
    return tasks + _SPARE_TASKS + _MAX_THREADS


def _prepare_filters(config: LayerConfig, allowed: list[str]) -> LayerConfig:
    if syscalls.MACHINE not in seccomp.MACHINES:
        config = config.without("seccomp", reason=f"no table of system calls for {syscalls.MACHINE}")
    if not landlock.version():
        config = config.without("landlock", reason="not in this kernel")
    if {"seccomp", "pids"} <= config.active:
        config = replace(config, filter=seccomp.prepare_filter(1))  # the first process of its own list
    if "landlock" in config.active:
        config = replace(config, ruleset=landlock.read_only(allowed))
    return config


def _without_cause(config: LayerConfig, layer: str, reason: str) -> LayerConfig:
    if layer != _READING:
        return config.without(layer, reason=reason)
    # A capability to read whatever Landlock allows is less to give away than running as root would be.
    if "landlock" in config.active and not config.read_any:
        return replace(config, read_any=True)
    return config.without("uid", reason=f"a process with its own user id cannot read Python: {reason}")


def _try(config: LayerConfig) -> tuple[str, str] | None:
    """Have a child apply `config`: None if all of it works, else the layer that failed and the reason."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _apply_and_report(config, theirs.detach())
    theirs.close()
    with ours:
        answer = ours.recv(4096).decode()
    os.waitpid(child, 0)
    if answer == "ok":
        return None
    layer, _, reason = answer.partition("\n")
    if layer not in (*config.active, _READING):
        raise RuntimeError(f"A process could not be confined: {reason or 'it died while trying'}.")
    return layer, reason


def _apply_and_report(config: LayerConfig, channel: int) -> NoReturn:
    with contextlib.suppress(BaseException):
        try:
            # The same steps in the same order as a zygote and its guest will take.
            if "pids" in config.active:
                apply.apply_steps([("pids", namespaces.enter_private_pids)])
                _continue_in_child()  # as the zygote
                apply.apply_steps([("pids", lambda: namespaces.enter_private_pids(os.pidfd_open(os.getpid())))])
                _continue_in_child()  # as a guest
            apply.apply_steps(apply.zygote_steps(config))
            (channel,) = apply.arrange_files(config, channel)
            channel = os.dup2(channel, apply.CHANNEL_FD)
            apply.apply_steps(apply.guest_steps(config, 0))
            apply.apply_steps([(_READING, partial(os.open, os.__file__, os.O_RDONLY))])
            os.write(channel, b"ok")
        except BaseException as error:
            layer, reason = (error.layer, error.reason) if isinstance(error, LayerError) else ("", repr(error))
            os.write(channel, f"{layer}\n{reason}".encode()[:4096])
    os._exit(0)


def _continue_in_child() -> None:
    if child := os.fork():
        os.waitpid(child, 0)
        os._exit(0)
