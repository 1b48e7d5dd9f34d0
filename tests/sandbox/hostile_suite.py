"""Run the hostile programs, in the sandbox or, one by one, without it, and print the results as JSON.

Standard library only, so that any user can run it with any Python: `hostile_suite.py sandbox LAYER,LAYER,...` and
`hostile_suite.py bare NAME ...`. Targets of attacks are harmless: files in a fresh directory, a process that waits,
and listeners on this machine.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import hostile_tables

HERE = Path(__file__).resolve().parent
TESTS = ("assert add(1, 2) == 3", "assert add(20, 22) == 42", 'assert add("x", "y") == "xy"')
SECRET = "8f3a1c-not-for-programs"


def _read_programs() -> dict[str, tuple[str | None, str]]:
    """By name, what each program harms (None if it only cheats), and its source."""
    found = hostile_tables.programs()
    for path in sorted((HERE / "hostile").glob("*.py")):
        source = path.read_text()
        second = source.splitlines()[1]
        damage = second.removeprefix("# damage: ") if second.startswith("# damage: ") else None
        found[path.stem] = (damage, source)
    return dict(sorted(found.items()))


# What a program harms is one of files, process, leftover, network, secret or breach.
PROGRAMS = _read_programs()
DAMAGING = [name for name, (damage, _) in PROGRAMS.items() if damage]


class Targets:
    """Harmless things to attack, and whether they have been."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        for name in ("inner", "names"):
            (self.folder / name).mkdir()
        for name, text in (("precious", "keep"), ("inner/file", "keep"), ("secret", SECRET), (f"names/{SECRET}", "")):
            (self.folder / name).write_text(text)
        self.contacts = 0
        self._listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self._listeners.append(socket.socket(socket.AF_UNIX))
        self.port = self._listeners[0].getsockname()[1]
        self.name = f"hostile-{os.getpid()}-{id(self)}"
        self._listeners[1].bind("\0" + self.name)
        self._listeners[2].bind(str(self.folder / "socket"))
        for listener in self._listeners:
            listener.listen()
            threading.Thread(target=self._count, args=(listener,), daemon=True).start()
        # Anyone may do anything to them: only the sandbox stands between.
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(0o777)
        with open(self.folder / "secret") as held:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", "read waiting", SECRET],
                stdin=subprocess.PIPE,
                cwd=self.folder,
                env={"HOSTILE_SECRET": SECRET},
                pass_fds=(held.fileno(),),
                start_new_session=True,
            )
        self._before = self._snapshot()

    def _count(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                self.contacts += 1

    def _snapshot(self) -> list[tuple]:
        found = []
        for path in sorted((self.folder, *self.folder.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            marks = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else []
            times = () if path.is_dir() else (status.st_mtime,)
            found.append((str(path), status.st_mode, status.st_nlink, status.st_uid, content, *times, *marks))
        return found

    def fill_in(self, program: str) -> str:
        """The program, aimed at these targets."""
        aims = {"DIR": self.folder, "PID": self.process.pid, "PORT": self.port, "NAME": self.name}
        for word, aim in aims.items():
            program = program.replace("{" + word + "}", str(aim))
        return program

    def harmed(self) -> list[str]:
        """Which of files, process and network were harmed."""
        time.sleep(0.02)  # for the listeners' threads
        return [
            *["files"] * (self._snapshot() != self._before),
            *["process"] * (self.process.poll() is not None),
            *["network"] * (self.contacts > 0),
        ]

    def close(self) -> None:
        """Remove the targets."""
        self.process.kill()
        self.process.communicate()
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def processes_with(mark: str) -> list[int]:
    """Processes, zombies apart, with `mark` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            mine = not entry.isdigit() or int(entry) == os.getpid()
            if not mine and mark.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(int(entry))
    return found


def left_of(mark: str, expected: int) -> int:
    """How many processes there are over those expected, once those that have been killed have had time to die."""
    end = time.monotonic() + 10
    while (left := len(processes_with(mark)) - expected) > 0 and time.monotonic() < end:
        time.sleep(0.02)
    return left


def run_sandboxed(layers: list[str], names: list[str]) -> dict:
    """All programs through one runner; the results, and any harm."""
    sys.path.insert(0, str(HERE.parents[1]))
    from mot_trl.sandbox import Job, ProgramRunner

    os.environ["HOSTILE_SECRET"] = SECRET
    targets = Targets()
    timeout = 0.3 + os.getpid() / 1e8  # appears in the command lines of this runner's processes
    options = {"layers": layers, "workers": 2, "timeout": timeout, "memory_mb": 256}
    started = time.monotonic()
    with ProgramRunner(**options) as runner:
        missing = [layer for layer, reason in runner.layers().items() if reason and layer in layers]
        jobs = [Job(targets.fill_in(PROGRAMS[name][1]), TESTS, (("add", "add"),)) for name in names]
        honest = Job("def add(a, b):\n    return a + b\n", TESTS, (("add", "add"),))
        results = runner.run_many([*jobs, *[honest] * 8])
        # Two workers, each with its zygote and a process for its next program.
        left = left_of(f'"timeout": {timeout}', 6)
    report = {
        "programs": {
            name: {"status": r.status, "detail": r.detail, "seconds": r.seconds}
            for name, r in zip(names, results, strict=False)
        },
        "honest": [result.status for result in results[len(jobs) :]],
        "harmed": targets.harmed(),
        "missing": missing,
        "left_while_open": left,
        "left_after_close": left_of(f'"timeout": {timeout}', 0),
        "seconds": round(time.monotonic() - started, 1),
    }
    targets.close()
    return report


def run_bare(name: str) -> list[str]:
    """What one program harms when it is simply run, by the user who runs this."""
    targets = Targets()
    script = targets.folder.with_suffix(".py")
    script.write_text(targets.fill_in(PROGRAMS[name][1]) + "\n\nadd(1, 2)\n")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-I", str(script)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"HOSTILE_SECRET": SECRET},
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        left = processes_with(str(script))
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        output.seek(0)
        words = output.read().decode(errors="replace")
    harmed = targets.harmed()
    script.unlink()
    targets.close()
    # The traceback's last line: the program's own message, not its source.
    last = words.strip().splitlines()[-1] if words.strip() else ""
    return [*harmed, *["leftover"] * bool(left), *["secret"] * (SECRET in last), *["breach"] * ("BREACH" in last)]


def main() -> None:
    """Do what the command line says."""
    mode, *rest = sys.argv[1:]
    if mode == "sandbox":
        names = rest[1:] or list(PROGRAMS)
        print(json.dumps(run_sandboxed(rest[0].split(","), names)))
    else:
        print(json.dumps({name: run_bare(name) for name in rest or DAMAGING}))


if __name__ == "__main__":
    main()
