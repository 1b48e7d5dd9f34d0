"""What is put around a program, as data: which layers there are, and what each needs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

ALL = ("rlimits", "no_new_privs", "uid", "landlock", "seccomp", "namespaces", "pids", "root")

MAX_THREADS = 64
# systemd hands out ids of this range for a service's lifetime, so nobody's files have them.
FIRST_UID, UIDS = 64_000, 1_000
# A bound on a user's threads must not count those of a program that is still on its way out.
USERS_PER_ZYGOTE = 8


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
        filter: The call that puts on the filter of system calls, where that can be made before the process is there.
        memory_bytes: Address space of a program's process, with what it was forked with.
        max_processes: Of this user, with threads; -1 sets no bound.
        first_user: Root only: the first of the USERS_PER_ZYGOTE ids that a zygote's programs take in turn.
        timeout: Seconds; a program may use no more processor time than twice this.
        read_any: Keep the capability to read what Landlock allows, though its owner does not. Root only, for a Python
            that lies in a directory closed to others.
    """

    active: frozenset[str]
    missing: dict[str, str] = field(default_factory=dict)
    ruleset: int = -1
    filter: Callable[[], object] | None = None
    memory_bytes: int = 1 << 29
    max_processes: int = -1
    first_user: int = FIRST_UID
    timeout: float = 5.0
    read_any: bool = False

    def without(self, layer: str, reason: str) -> "Confinement":
        """The same, less one layer."""
        return replace(self, active=self.active - {layer}, missing={**self.missing, layer: reason})
