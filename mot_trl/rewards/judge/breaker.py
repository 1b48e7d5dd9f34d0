"""A circuit breaker: after several straight failures of a server, leave it alone for a while."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class CircuitBreaker:
    """Closed: calls pass. Open: none does. Half open, when the rest is over: one probe passes and decides.

    A failed probe doubles the rest, up to `max_rest`; any success closes the circuit.

    Args:
        threshold: straight failures that open the circuit.
        rest: seconds an opened circuit stays open.
        max_rest: seconds the rest may grow to.
        clock: the time in seconds.
    """

    threshold: int = 5
    rest: float = 30.0
    max_rest: float = 600.0
    clock: Callable[[], float] = time.monotonic
    _failures: int = field(default=0, init=False)
    _pause: float = field(default=0.0, init=False)
    _open_until: float | None = field(default=None, init=False)
    _probe_sent_at: float | None = field(default=None, init=False)
    _last_success: float = field(default=float("-inf"), init=False)

    @property
    def is_open(self) -> bool:
        """Whether the server counts as broken: also while a probe is under way."""
        return self._open_until is not None

    @property
    def is_probing(self) -> bool:
        """Whether a probe is under way, so that whoever may not call does well to wait for its outcome."""
        # One whose outcome was never told (its loop died) must not block the circuit for ever.
        return self._probe_sent_at is not None and self.clock() < self._probe_sent_at + self._pause

    def try_call(self) -> bool:
        """Whether a call may be made now. In a half-open circuit the first asker gets the probe."""
        if self._open_until is None:
            return True
        if self.clock() < self._open_until or self.is_probing:
            return False
        self._probe_sent_at = self.clock()
        return True

    def succeeded(self) -> None:
        """Tell that the server answered."""
        self._failures = 0
        self._open_until = self._probe_sent_at = None
        self._last_success = self.clock()

    def failed(self, sent_at: float) -> None:
        """Tell that the server failed a call sent at `sent_at`.

        It counts only if nothing has succeeded since then: calls that were cut off at a deadline, while the server
        answered others, show a busy server rather than a broken one.
        """
        if sent_at < self._last_success:
            return
        self._failures += 1
        if self._open_until is not None:
            # Calls sent before the circuit opened fail late; only the probe's failure prolongs the rest.
            if self._probe_sent_at is not None and sent_at >= self._probe_sent_at:
                self._pause = min(2 * self._pause, self.max_rest)
                self._open_until, self._probe_sent_at = self.clock() + self._pause, None
        elif self._failures >= self.threshold:
            self._pause = self.rest
            self._open_until = self.clock() + self._pause
