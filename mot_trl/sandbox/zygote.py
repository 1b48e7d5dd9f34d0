"""The zygote: forks the programs' processes out of one that has imported what they need and has seen no test."""

import contextlib
import gc
import os
import signal
import socket
import struct
from typing import NoReturn

from mot_trl.sandbox import candidate, kernel, layers

_FORK, _END = b"f", b"e"
_PID = struct.Struct("!i")


class Zygote:
    """A supervisor's handle on its zygote, which has at most one program's process at a time. Raises OSError."""

    def __init__(self, confinement: layers.Confinement) -> None:
        """Fork the zygote off this process, which must not have seen any test yet."""
        self._control, theirs = socket.socketpair()
        supervisor = os.getpid()
        if os.fork() == 0:
            self._control.close()
            _serve(confinement, theirs, supervisor)
        theirs.close()

    def start(self) -> tuple[socket.socket, int]:
        """A socket to a new program's process, and its process id."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_FORK], [theirs.fileno()])
        return ours, self._reply()

    def end(self) -> None:
        """End the program's process, and wait until it is gone."""
        self._control.send(_END)
        self._reply()

    def _reply(self) -> int:
        reply = self._control.recv(_PID.size, socket.MSG_WAITALL)
        if len(reply) < _PID.size:
            raise ConnectionError("The zygote is gone.")
        return _PID.unpack(reply)[0]


def _serve(confinement: layers.Confinement, control: socket.socket, supervisor: int) -> NoReturn:
    with contextlib.suppress(BaseException):
        layers.die_with_parent(supervisor)
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
        self._child = 0

    def serve_one(self) -> bool:
        command, files, _, _ = socket.recv_fds(self._control, 1, 1)
        if command == _FORK:
            self._fork(files[0])
        elif command == _END:
            self._end()
        self._control.send(_PID.pack(self._child))
        return bool(command)

    def _fork(self, end: int) -> None:
        if "pids" in self._confinement.active:
            kernel.setns(self._confinement.own_pids)
            layers.enter_private_pids()
        self._child = os.fork()
        if self._child == 0:
            candidate.run(self._confinement, end)
        os.close(end)

    def _end(self) -> None:
        for kill in (os.killpg, os.kill):  # the group, then the process, which may not have made its group yet
            with contextlib.suppress(OSError):
                kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
