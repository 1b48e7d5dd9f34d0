"""Length-prefixed JSON messages over a socket pair, read and written against a clock."""

import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any

from mot_trl.sandbox import codec

_HEADER = struct.Struct("!I")
_CHUNK = 1 << 16

# A clock: seconds left, 0 or less when time is up.
Clock = Callable[[], float]


class ClosedError(ConnectionError):
    """The other end is gone."""


class DeadlineError(TimeoutError):
    """The other end took too long."""


def deadline(seconds: float) -> Clock:
    """A clock that runs out so many seconds from now."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


class Channel:
    """One end of a socket pair.

    The reader trusts nothing: the length is checked before the message is read, each read is bounded, and the clock is
    asked before each wait. So a peer can make it fail, but not allocate, parse or wait without limit. When `watch`,
    another socket's file descriptor, is hung up, waiting ends with ConnectionError.
    """

    def __init__(self, end: int, *, limit: int = codec.MAX_BYTES, watch: int = -1) -> None:
        os.set_blocking(end, False)
        self._watch = watch
        self.end = end
        self._limit = limit
        self.received = 0  # bytes of the last message

    def send(self, message: object, clock: Clock | None = None) -> None:
        """Send one message; without a clock, wait as long as it takes."""
        line = codec.dumps(message)
        view = memoryview(_HEADER.pack(len(line)) + line)
        while view:
            try:
                view = view[os.write(self.end, view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, clock)
            except OSError as error:
                raise ClosedError(str(error)) from None

    def receive(self, clock: Clock | None = None) -> Any:
        """Return the next message; without a clock, wait as long as it takes."""
        (length,) = _HEADER.unpack(self._read(_HEADER.size, clock))
        if length > self._limit:
            raise codec.TooLargeError(f"A message of {length:,} bytes is over the limit of {self._limit:,}.")
        self.received = length
        return codec.loads(self._read(length, clock))

    def hung_up(self) -> bool:
        """Whether the other end is gone."""
        poller = select.poll()
        poller.register(self.end, 0)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Close this end."""
        os.close(self.end)

    def _read(self, size: int, clock: Clock | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                # Memory grows with what has arrived, not with what was announced.
                part = os.read(self.end, min(size - len(parts), _CHUNK))
            except BlockingIOError:
                self._wait(select.POLLIN, clock)
                continue
            except OSError as error:
                raise ClosedError(str(error)) from None
            if not part:
                raise ClosedError("The other end closed the channel.")
            parts += part
        return bytes(parts)

    def _wait(self, event: int, clock: Clock | None) -> None:
        """Wait once; the caller tries again, after another look at a clock that may have been moved."""
        poller = select.poll()
        poller.register(self.end, event)
        remaining = None if clock is None else clock()
        if remaining is not None and remaining <= 0:
            raise DeadlineError
        if self._watch >= 0:
            poller.register(self._watch, 0)
        ready = poller.poll(None if remaining is None else remaining * 1000 + 1)
        if any(file == self._watch for file, _ in ready):
            # Not a ClosedError, which would be the program's failure: this one has no one left to report to.
            raise ConnectionError("The watched socket was hung up.")
