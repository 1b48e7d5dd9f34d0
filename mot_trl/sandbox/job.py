"""Jobs for the sandbox, and their results."""

from dataclasses import dataclass, field
from typing import Any, Literal

from mot_trl.sandbox import codec

Status = Literal[
    "passed",  # every test held
    "failed",  # it ran, and a test did not hold
    "invalid",  # it does not compile
    "crashed",  # it raised while loading, ended its process, or broke the protocol
    "timeout",  # its time was up
    "overflow",  # it, or what it answered, is too large
    "unsupported",  # the tests themselves cannot be run, or check nothing
    "error",  # the sandbox failed
]


@dataclass(frozen=True)
class Job:
    """An untrusted program and the trusted tests it must pass.

    The tests run in the supervisor, where the program never is. There, each name in `entry_points` is a stand-in: its
    arguments are sent to the program as data, and the answer comes back as data. With each name comes the expression
    that gives it in the program, for instance `(("candidate", "Solution().twoSum"),)`. A name with a capital first
    letter is a class's, whose instances may weigh themselves against the tests' data.
    """

    program: str
    tests: tuple[str, ...]  # Python statements with checks, run in order in one namespace; each gives one verdict
    entry_points: tuple[tuple[str, str], ...]
    prelude: str = ""  # trusted source, run before the program and also before the tests (imports, ListNode, TreeNode)
    setup: str = ""  # trusted source, run before the tests, after the program has loaded

    def message(self) -> dict[str, Any]:
        """The job as JSON data."""
        return {"kind": "tests", **self.__dict__}


@dataclass(frozen=True)
class Score:
    """A call of a trusted function with untrusted data, in a sandboxed process of its own.

    The untrusted data must not be able to run code of its own in there, or it could forge the answer: check its
    grammar first. What the sandbox adds is that a hang, a memory bomb or a missed hole harms nothing.
    """

    function: str  # "module:name"; the module must be one of the runner's `preload`
    arguments: tuple[Any, ...] = ()  # data: built-in types, nested at will

    def message(self) -> dict[str, Any]:
        """The call as JSON data, if its arguments are data."""
        return {"kind": "score", "function": self.function, "arguments": codec.encode(list(self.arguments))}


@dataclass(frozen=True)
class Result:
    """The result of a job."""

    status: Status
    verdicts: tuple[bool, ...] = ()  # one per test; tests that were never reached are False
    seconds: float = 0.0  # the program's own time: waiting for a worker or for a CPU does not count
    detail: str = ""  # a line for people to read; parts of it are the program's words
    compiled: bool = False  # whether the program is Python
    ran: bool = False  # whether it also loaded, and raised nothing in any test
    value: Any = field(default=None, compare=False)  # what a Score's function returned

    @property
    def judged(self) -> bool:
        """Whether the result says anything about the program."""
        return self.status not in ("unsupported", "error")

    @property
    def passed(self) -> bool:
        """Whether every test held."""
        return self.status == "passed"
