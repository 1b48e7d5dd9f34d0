"""Putting the layers on: on the zygote what its children can inherit, on each program's process the rest."""

import fcntl
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial

from mot_trl.sandbox import landlock, seccomp
from mot_trl.sandbox import syscalls as kernel
from mot_trl.sandbox.config import USERS_PER_ZYGOTE, Confinement, LayerError

CHANNEL_FD = 3
_RULESET_FD = 4
_MAX_FILES = 64
_STACK_BYTES = 64 << 20

# Calls to make in order, each with the layer it belongs to; "" for what must hold whatever the layers. They are made
# ready beforehand, arguments and all: see `kernel.ready_syscall`.
Steps = list[tuple[str, Callable[[], object]]]


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def arrange_files(confinement: Confinement, *kept: int) -> list[int]:
    """Give the zygote the open files that programs shall have: 0 to 2 lead nowhere, and CHANNEL_FD comes next.

    `kept` stay open under the numbers that are returned, until a program's steps are put on; all others are closed.
    """
    ruleset = max(confinement.ruleset, 0)  # where there is none, something must fill its place
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, _MAX_FILES // 2) for file in (ruleset, *kept)]
    null = os.open("/dev/null", os.O_RDWR)
    for file in range(3):
        os.dup2(null, file)
    for file, source in enumerate(high, _RULESET_FD):
        os.dup2(source, file, inheritable=False)
    after = _RULESET_FD + len(high)
    os.closerange(after, 1 << 16)
    os.closerange(CHANNEL_FD, _RULESET_FD)
    return list(range(_RULESET_FD + 1, after))


def for_zygote(confinement: Confinement) -> Steps:
    """What each program's process can inherit: cheaper than once for each."""
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
    wanted: Steps = []
    for name, limit in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None and limit >= 0:
            hard = resource.getrlimit(kind)[1]
            bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            wanted.append(("rlimits", partial(resource.setrlimit, kind, (bound, bound))))
    if sys.platform == "linux":
        wanted.append(("no_new_privs", kernel.ready_prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)))
    return _active(wanted, confinement)


def for_program(confinement: Confinement, number: int) -> Steps:
    """The rest, for the zygote's `number`th child, whose CHANNEL_FD must be open."""
    seconds = math.ceil(2 * confinement.timeout) + 1
    first_to_close = _RULESET_FD + ("landlock" in confinement.active)
    wanted: Steps = [
        ("", partial(os.closerange, first_to_close, 1 << 16)),
        ("", partial(os.set_inheritable, CHANNEL_FD, False)),
        ("", partial(os.setpgid, 0, 0)),
        # Not the zygote's: its own time would count against it.
        ("rlimits", partial(resource.setrlimit, resource.RLIMIT_CPU, (seconds, seconds))),
    ]
    if sys.platform == "linux":
        nobody = confinement.first_user + number % USERS_PER_ZYGOTE
        capabilities = (1 << kernel.CAP_DAC_READ_SEARCH) if confinement.read_any else 0
        wanted += [
            ("uid", kernel.ready_prctl(kernel.PR_SET_KEEPCAPS, int(confinement.read_any))),
            ("uid", partial(os.setgroups, [])),
            ("uid", partial(os.setresgid, nobody, nobody, nobody)),
            ("uid", partial(os.setresuid, nobody, nobody, nobody)),
            ("", kernel.ready_capset(capabilities)),
            # A change of user id clears this. The supervisor waits for a sign of life, and from then on it holds.
            ("", kernel.ready_prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)),
            ("", kernel.ready_prctl(kernel.PR_SET_DUMPABLE, 0)),
            ("landlock", landlock.ready_restrict(_RULESET_FD)),
            ("landlock", partial(os.close, _RULESET_FD)),
            ("seccomp", confinement.filter or (lambda: seccomp.ready_filter(os.getpid())())),
        ]
    return _active(wanted, confinement)


def _active(wanted: Steps, confinement: Confinement) -> Steps:
    return [(layer, step) for layer, step in wanted if not layer or layer in confinement.active]


def put_on(steps: Steps) -> None:
    """Put `steps` on this process, in order. Raises LayerError."""
    for layer, step in steps:
        try:
            step()
        except (OSError, ValueError) as error:
            raise LayerError(layer, error) from None
