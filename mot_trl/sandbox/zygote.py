"""The zygote: forks the programs' processes out of one that has imported what they need and has seen no test."""

import contextlib
import gc
import os
import signal
import socket
from typing import NoReturn

from mot_trl.sandbox import candidate, layers

_FORK, _END = b"f", b"e"


class Zygote:
    """A supervisor's handle on its zygote, which has at most one program's process at a time. Raises OSError."""

    def __init__(self, confinement: layers.Confinement) -> None:
        """Fork the zygote off this process, which must not have seen any test yet."""
        self._control, theirs = socket.socketpair()
        if "pids" in confinement.active:
            layers.enter_private_pids()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _serve(confinement, theirs)
        theirs.close()

    def start(self) -> socket.socket:
        """A socket to a new program's process."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_FORK], [theirs.fileno()])
        return ours

    def end(self) -> None:
        """End the program's process, and wait until it is gone."""
        self._control.send(_END)
        if not self._control.recv(1):
            raise ConnectionError("The zygote is gone.")


def _serve(confinement: layers.Confinement, control: socket.socket) -> NoReturn:
    with contextlib.suppress(BaseException):
        layers.die_with_parent()
        candidate.rehearse()
        layers.confine_zygote(confinement)
        # What is forked should share memory for as long as it can.
        gc.collect()
        gc.freeze()
        server = _Server(confinement, control)
        while server.serve_one():
            pass
    os._exit(0)


class _Server:
    def __init__(self, confinement: layers.Confinement, control: socket.socket) -> None:
        self._confinement = confinement
        self._control = control
        self._own = os.pidfd_open(os.getpid()) if "pids" in confinement.active else -1
        self._child = 0

    def serve_one(self) -> bool:
        command, files, _, _ = socket.recv_fds(self._control, 1, 1)
        if command == _FORK:
            self._fork(files[0])
        elif command == _END:
            self._end()
            self._control.send(command)
        return bool(command)

    def _fork(self, end: int) -> None:
        if self._own >= 0:
            layers.enter_private_pids(self._own)
        self._child = os.fork()
        if self._child == 0:
            candidate.run(self._confinement, end)
        os.close(end)

    def _end(self) -> None:
        for kill in (os.killpg, os.kill):  # the group, then the process, which may not have made its group yet
            with contextlib.suppress(OSError):
                kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
