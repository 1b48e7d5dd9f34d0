"""Apply the layers: to the zygote what its children can inherit, to each guest process the rest."""

import fcntl
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial

from mot_trl.sandbox import seccomp, syscalls
from mot_trl.sandbox.config import USERS_PER_ZYGOTE, LayerConfig, LayerError

CHANNEL_FD, _RULESET_FD = 3, 4
_MAX_FILES, _ALL_FILES = 64, 1 << 16
_STACK_BYTES = 64 << 20

# Calls in order, prepared before the fork, each with the layer it belongs to; "" if it must succeed in any case.
Steps = list[tuple[str, Callable[[], object]]]


def arrange_files(config: LayerConfig, *kept: int) -> list[int]:
    """Give the zygote the open files of its guests: 0 to 2 lead nowhere, and CHANNEL_FD is free for the channel.

    `kept` stay open under the numbers that are returned, until a guest applies its steps; all others are closed.
    """
    ruleset = max(config.ruleset, 0)  # without a ruleset, any file will do to fill its place
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, _MAX_FILES // 2) for file in (ruleset, *kept)]
    null = os.open("/dev/null", os.O_RDWR)
    for file in range(3):
        os.dup2(null, file)
    for file, source in enumerate(high, _RULESET_FD):
        os.dup2(source, file, inheritable=False)
    after = _RULESET_FD + len(high)
    os.closerange(after, _ALL_FILES)
    os.closerange(CHANNEL_FD, _RULESET_FD)
    return list(range(_RULESET_FD + 1, after))


def zygote_steps(config: LayerConfig) -> Steps:
    """What guests inherit: cheaper than once for each guest."""
    limits = {"AS": config.memory_bytes, "STACK": _STACK_BYTES, "NOFILE": _MAX_FILES, "NPROC": config.max_processes}
    steps: Steps = []
    # A file size of 0 lets a guest write to no file at all, but still to its channel and to /dev/null.
    for name, limit in (limits | dict.fromkeys(("FSIZE", "CORE", "MEMLOCK", "MSGQUEUE"), 0)).items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None and limit >= 0:
            _, hard = resource.getrlimit(kind)
            bound = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            steps.append(("rlimits", partial(resource.setrlimit, kind, (bound, bound))))
    if sys.platform == "linux":
        steps.append(("no_new_privs", syscalls.prepare_prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)))
    return _active(steps, config)


def guest_steps(config: LayerConfig, number: int) -> Steps:
    """The rest, for the zygote's `number`th child, whose CHANNEL_FD must be open."""
    seconds = math.ceil(2 * config.timeout) + 1
    first_to_close = _RULESET_FD + ("landlock" in config.active)
    steps: Steps = [
        ("", partial(os.closerange, first_to_close, _ALL_FILES)),
        ("", partial(os.set_inheritable, CHANNEL_FD, False)),
        ("", partial(os.setpgid, 0, 0)),
        # Not inherited from the zygote, whose own CPU time would count against it.
        ("rlimits", partial(resource.setrlimit, resource.RLIMIT_CPU, (seconds, seconds))),
    ]
    if sys.platform != "linux":
        return _active(steps, config)
    prctl = syscalls.prepare_prctl
    user = config.first_user + number % USERS_PER_ZYGOTE
    # Each step takes away what a later one no longer needs. Changing the user takes capabilities, so they are dropped
    # after it; Landlock and the filter come last, since they would deny the steps before.
    steps += [
        # A change from root to another user drops all capabilities, also the one that `read_any` is to keep.
        ("uid", prctl(syscalls.PR_SET_KEEPCAPS, int(config.read_any))),
        # The user last: from then on, the process may not change its groups.
        ("uid", partial(os.setgroups, [])),
        ("uid", partial(os.setresgid, user, user, user)),
        ("uid", partial(os.setresuid, user, user, user)),
        ("", syscalls.prepare_capset((1 << syscalls.CAP_DAC_READ_SEARCH) if config.read_any else 0)),
        # After the change of user, which clears it. `await_start` notices a zygote that dies before.
        ("", prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)),
        # Keeps other guests of the same user from reading this one's memory through /proc or ptrace.
        ("", prctl(syscalls.PR_SET_DUMPABLE, 0)),
        ("landlock", syscalls.prepare("landlock_restrict_self", _RULESET_FD, 0)),
        ("landlock", partial(os.close, _RULESET_FD)),
        # Without a private process list, the guest's own process id is known only once it runs.
        ("seccomp", config.filter or (lambda: seccomp.prepare_filter(os.getpid())())),
    ]
    return _active(steps, config)


def _active(steps: Steps, config: LayerConfig) -> Steps:
    return [(layer, step) for layer, step in steps if not layer or layer in config.active]


def apply_steps(steps: Steps) -> None:
    """Apply `steps` to this process; after a LayerError, it is perhaps half confined and must not run a program."""
    for layer, step in steps:
        try:
            step()
        except (OSError, ValueError) as error:
            raise LayerError(layer, error) from None
