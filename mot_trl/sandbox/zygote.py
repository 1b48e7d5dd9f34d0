"""The zygote: forks the programs' processes out of one that has imported what they need and has seen no test."""

import contextlib
import gc
import os
import random
import select
import signal
import socket
from typing import NoReturn

from mot_trl.sandbox import apply as confine
from mot_trl.sandbox import guest as candidate
from mot_trl.sandbox import probe as layers
from mot_trl.sandbox import syscalls as kernel
from mot_trl.sandbox.config import USERS_PER_ZYGOTE, Confinement

_FORK, _END = b"f", b"e"
_REAP_MILLISECONDS = 10


class Zygote:
    """A supervisor's handle on its zygote, which keeps one process ready for the next program. Raises OSError."""

    def __init__(self, confinement: Confinement) -> None:
        """Fork the zygote off this process, which must not have seen any test yet."""
        self._control, theirs = socket.socketpair()
        self._waits = _must_wait(confinement)
        if "pids" in confinement.active:
            layers.enter_private_pids()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _serve(confinement, theirs)
        theirs.close()
        self._next = self._order()

    def start(self) -> int:
        """The file descriptor of a socket to a new program's process; `end` that one before the next start."""
        return self._next

    def end(self) -> None:
        """Have the program's process killed, and the next one forked."""
        self._control.send(_END)
        self._next = self._order()
        if self._waits and not self._control.recv(1):
            raise ConnectionError("The zygote is gone.")

    def _order(self) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_FORK], [theirs.fileno()])
        return ours.detach()


def _must_wait(confinement: Confinement) -> bool:
    """Whether a killed program may have left processes that live on until its process list is cleared away.

    The filter lets no program have a second process, so there the next one need not wait the milliseconds it takes.
    """
    return "seccomp" not in confinement.active


def _serve(confinement: Confinement, control: socket.socket) -> NoReturn:
    with contextlib.suppress(BaseException):
        confine.die_with_parent()
        candidate.rehearse()
        confine.put_on(confine.for_zygote(confinement))
        server = _Server(confinement, control)
        # What is forked should share memory for as long as it can.
        gc.collect()
        gc.freeze()
        while server.serve_one():
            pass
    os._exit(0)


class _Server:
    def __init__(self, confinement: Confinement, control: socket.socket) -> None:
        self._must_wait = _must_wait(confinement)
        own = [os.pidfd_open(os.getpid())] if "pids" in confinement.active else []
        file, *self._own = confine.arrange_files(confinement, control.detach(), *own)
        self._control = socket.socket(fileno=file)
        self._poller = select.poll()
        self._poller.register(file, select.POLLIN)
        self._steps = [confine.for_program(confinement, number) for number in range(USERS_PER_ZYGOTE)]
        self._forked = 0
        self._child = 0
        self._dying: list[int] = []

    def serve_one(self) -> bool:
        while self._dying and not self._poller.poll(_REAP_MILLISECONDS):
            self._reap()
        command, files, _, _ = socket.recv_fds(self._control, 1, 1)
        if command == _FORK:
            self._fork(files[0])
        elif command == _END:
            self._end()
        return bool(command)

    def _fork(self, end: int) -> None:
        if end != confine.CHANNEL_FD:
            os.dup2(end, confine.CHANNEL_FD)
            os.close(end)
        for own in self._own:
            layers.enter_private_pids(own)
        steps = self._steps[self._forked % len(self._steps)]
        self._forked += 1
        # What a fork by Python would do in the child, where it costs more.
        random.seed()
        self._child = kernel.fork()
        if self._child == 0:
            candidate.run(steps)
        os.close(confine.CHANNEL_FD)
        self._reap()

    def _end(self) -> None:
        for kill in (os.killpg, os.kill):  # the group, then the process, which may not have made its group yet
            with contextlib.suppress(OSError):
                kill(self._child, signal.SIGKILL)
        if self._must_wait:
            os.waitpid(self._child, 0)
            self._control.send(_END)
            return
        self._dying.append(self._child)
        if len(self._dying) == len(self._steps):
            os.waitpid(self._dying.pop(0), 0)

    def _reap(self) -> None:
        self._dying = [child for child in self._dying if os.waitpid(child, os.WNOHANG) == (0, 0)]
