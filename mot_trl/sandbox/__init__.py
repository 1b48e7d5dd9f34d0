"""Run untrusted programs.

    with ProgramRunner(workers=2, timeout=5) as runner:
        job = Job("def add(a, b): return a + b", ("assert add(1, 2) == 3",), (("add", "add"),))
        runner.run(job).passed

The tests stay in a supervisor process; the program's process is asked for values and sends back data (`codec`), which
the supervisor compares, or numbers of objects, for which there are stand-ins (`objects`). That process is wrapped in
as many layers as the machine provides (`config.LAYERS`).

Trusted code that must look at untrusted data, such as a scorer that parses with `eval`:

    with ProgramRunner(preload=("reasoning_gym", "my_package.scorers")) as runner:
        result = runner.score("my_package.scorers:score", "countdown", entry, answer)  # or run_many([Score(...), ...])
        result.value if result.status == "passed" else ...  # "crashed": it raised; "timeout", "overflow": as named

The function's module must be in `preload`. Arguments and the returned value are data: None, bool, int, float, complex,
str, bytes, list, tuple, set, frozenset, dict and the types of `values`, nested at will. Each call has a forked process
of its own, under all layers, with imports done. `result.judged` is False only if the sandbox itself failed.
"""

from mot_trl.sandbox.job import Job, Result, Score, Status
from mot_trl.sandbox.runner import ProgramRunner

__all__ = ["Job", "ProgramRunner", "Result", "Score", "Status"]
