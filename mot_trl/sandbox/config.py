"""The layers by name, and the settings with which a guest process applies them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

LAYERS = {
    "rlimits": "limits on memory, CPU time, files and threads",
    "no_new_privs": "no set-user-id program can raise its privileges",
    "uid": "a user id that owns nothing",
    "landlock": "reads Python and its libraries, writes nothing, no TCP",
    "seccomp": "only the system calls that computing needs",
    "namespaces": "no network, no shared memory with other processes",
    "pids": "sees and reaches no other process; dies as a whole",
    "root": "a read-only root directory that holds only Python",
}

# RLIMIT_NPROC counts all threads of a user, so a guest must not share its user with one that is still dying.
USERS_PER_ZYGOTE = 8
# Waiting for a CPU is not the program's fault, but it must end: at this many times the limit.
PATIENCE = 5


class LayerError(Exception):
    """A layer that this machine does not provide."""

    def __init__(self, layer: str, reason: object) -> None:
        super().__init__(f"{layer}: {reason}")
        self.layer, self.reason = layer, str(reason)


@dataclass(frozen=True)
class LayerConfig:
    """What each guest process applies to itself."""

    active: frozenset[str] = frozenset(LAYERS)
    missing: dict[str, str] = field(default_factory=dict)  # for each other layer, the reason
    ruleset: int = -1  # Landlock's file descriptor
    filter: Callable[[], object] | None = None  # the call that installs it, if it can be prepared before the fork
    memory_bytes: int = 1 << 29  # address space, including what the process was forked with
    max_processes: int = -1  # of this user, counting threads; -1 for no limit
    first_user: int = -1  # as root, the first of the USERS_PER_ZYGOTE ids that guests take in turn
    timeout: float = 5.0  # seconds; CPU time is limited to about twice this
    read_any: bool = False  # as root, if others cannot read Python: keep the capability to read what Landlock allows

    def without(self, *layers: str, reason: str) -> "LayerConfig":
        """The same config without `layers`. Those already missing keep their first reason."""
        return replace(self, active=self.active - {*layers}, missing=dict.fromkeys(layers, reason) | self.missing)
