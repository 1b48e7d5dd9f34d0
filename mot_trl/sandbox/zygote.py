"""The zygote: fork guest processes from one that has imported what they need and has never seen a test.

A guest applies its layers, reports that it is ready, waits, serves one program and is killed; then the next is forked.
"""

import contextlib
import gc
import os
import random
import select
import signal
import socket
import sys

from mot_trl.sandbox import apply, guest, namespaces, syscalls
from mot_trl.sandbox.config import USERS_PER_ZYGOTE, LayerConfig

_NEXT, _GONE = b"n", b"g"
_REAP_SECONDS = 0.01


class Zygote:
    """A supervisor's handle on its zygote, forked off this process before it sees a test; OSError once it is gone."""

    def __init__(self, config: LayerConfig) -> None:
        self._control, theirs = socket.socketpair()
        # A killed program may have left processes that live until its process list is cleared. The filter lets no
        # program have a second process, so with it, the next one need not wait the milliseconds it takes.
        self._waits = "seccomp" not in config.active
        if "pids" in config.active:
            namespaces.enter_private_pids()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            with contextlib.suppress(BaseException):
                _Server(config, theirs, must_wait=self._waits).serve()
            os._exit(0)
        theirs.close()
        self.guest = self._order()  # the file descriptor of a socket to the guest process

    def replace_guest(self) -> None:
        """Have the guest process killed and the next one forked."""
        self.guest = self._order()
        if self._waits and not self._control.recv(1):
            raise ConnectionError("The zygote is gone.")

    def _order(self) -> int:
        """Send the zygote one end of a new socket pair, the channel of its next guest, and return the other."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_NEXT], [theirs.fileno()])
        return ours.detach()


class _Server:
    """The zygote's side: keeps one guest, and reaps those before it."""

    def __init__(self, config: LayerConfig, control: socket.socket, *, must_wait: bool) -> None:
        # The supervisor may be killed at any time, and must take the zygote with it, and that its guest.
        if sys.platform == "linux":
            syscalls.prepare_prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)()
        guest.rehearse()
        apply.apply_steps(apply.zygote_steps(config))
        self._must_wait = must_wait
        own = [os.pidfd_open(os.getpid())] if "pids" in config.active else []
        file, *self._own = apply.arrange_files(config, control.detach(), *own)
        self._control = socket.socket(fileno=file)
        self._steps = [apply.guest_steps(config, number) for number in range(USERS_PER_ZYGOTE)]
        self._forked = self._child = 0
        self._dying: list[int] = []
        # Garbage collection writes to every object, so pages shared with guests would be copied.
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Replace the guest by the next one at each message, until the supervisor is gone."""
        while True:
            while self._dying and not any(select.select([self._control], [], [], _REAP_SECONDS)):
                self._reap()
            _, files, _, _ = socket.recv_fds(self._control, 1, 1)
            if not files:
                return
            if self._child:
                self._end()
            self._fork(files[0])

    def _fork(self, end: int) -> None:
        if end != apply.CHANNEL_FD:
            os.dup2(end, apply.CHANNEL_FD)
            os.close(end)
        # The list ends with its first process, so each guest needs a new one.
        for own in self._own:
            namespaces.enter_private_pids(own)
        steps = self._steps[self._forked % len(self._steps)]
        self._forked += 1
        # A fork by Python would do this in the child, where it costs more.
        random.seed()
        self._child = syscalls.fork()
        if self._child == 0:
            guest.run(steps)
        os.close(apply.CHANNEL_FD)
        self._reap()

    def _end(self) -> None:
        for kill in (os.killpg, os.kill):  # the group, then the process, which may not have made its group yet
            with contextlib.suppress(OSError):
                kill(self._child, signal.SIGKILL)
        if self._must_wait:
            os.waitpid(self._child, 0)
            self._control.send(_GONE)
            return
        self._dying.append(self._child)
        # A user's turn comes again after so many guests: by then, the one before must be dead.
        if len(self._dying) == len(self._steps):
            os.waitpid(self._dying.pop(0), 0)

    def _reap(self) -> None:
        self._dying = [child for child in self._dying if os.waitpid(child, os.WNOHANG) == (0, 0)]
