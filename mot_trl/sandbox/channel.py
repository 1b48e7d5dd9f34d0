"""Frames of JSON over a socket: a length of four bytes, then the message."""

import os
import select
import struct
import time
from typing import Any, Protocol

from mot_trl.sandbox import codec

_HEADER = struct.Struct("!I")
_CHUNK = 1 << 16


class ClosedError(ConnectionError):
    """The other end is gone."""


class AbandonedError(ConnectionError):
    """Nobody waits for this any more."""


class DeadlineError(TimeoutError):
    """The other end took too long."""


class Clock(Protocol):
    """What decides how long to wait."""

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        ...


class Deadline:
    """A plain clock: so many seconds from now."""

    def __init__(self, seconds: float) -> None:
        """Start counting down."""
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left; 0 or less when time is up."""
        return self._end - time.monotonic()


class Channel:
    """One end of a socket pair, read and written against a clock; without one it waits for ever."""

    def __init__(self, end: int, *, limit: int = codec.MAX_BYTES, watch: int = -1) -> None:
        """Take the socket over.

        Args:
            end: The socket's file descriptor.
            limit: Bytes of the longest message to receive.
            watch: Another socket's; when that one is hung up, waiting ends with AbandonedError.
        """
        os.set_blocking(end, False)
        self._watch = watch
        self.end = end
        self._limit = limit

    def send(self, message: object, clock: Clock | None = None) -> None:
        """Send one message. Raises ClosedError, DeadlineError, or codec.TooLargeError."""
        line = codec.dumps(message)
        self._write(_HEADER.pack(len(line)) + line, clock)

    def receive(self, clock: Clock | None = None) -> Any:
        """The next message. Raises ClosedError, DeadlineError, codec.TooLargeError, codec.CodecError."""
        (length,) = _HEADER.unpack(self._read(_HEADER.size, clock))
        if length > self._limit:
            raise codec.TooLargeError(f"A message of {length:,} bytes is over the limit of {self._limit:,}.")
        return codec.loads(self._read(length, clock))

    def hung_up(self) -> bool:
        """Whether the other end is gone."""
        poller = select.poll()
        poller.register(self.end, 0)
        return bool(poller.poll(0))

    def close(self) -> None:
        """Close this end."""
        os.close(self.end)

    def _write(self, data: bytes, clock: Clock | None) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.end, view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, clock)
            except OSError as error:
                raise ClosedError(str(error)) from None

    def _read(self, size: int, clock: Clock | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
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
        poller = select.poll()
        poller.register(self.end, event)
        remaining = None if clock is None else clock.remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineError
        # A poll that ends early is asked again, after a look at the clock: it may have been moved.
        if self._watch >= 0:
            poller.register(self._watch, 0)
        ready = poller.poll(None if remaining is None else remaining * 1000 + 1)
        if any(file == self._watch for file, _ in ready):
            raise AbandonedError
