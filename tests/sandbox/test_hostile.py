"""No hostile program passes, harms anything or stays; and each that does harm does it without the sandbox."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hostile_suite
import pytest

ALL = ["rlimits", "no_new_privs", "uid", "landlock", "seccomp", "namespaces", "pids", "root"]
FILTERS = ["rlimits", "no_new_privs", "uid", "landlock", "seccomp"]
NAMESPACES = ["rlimits", "no_new_privs", "uid", "namespaces", "pids", "root"]

SUITE = Path(hostile_suite.__file__)
# One of each kind for the quick tests, without those that wait for the deadline.
QUICK = [name for name in hostile_suite.PROGRAMS if not name.startswith(("hang", "bomb", "forge_frame"))] + [
    "hang_loop",
    "hang_sleep_native",
    "bomb_memory_list",
    "bomb_return_100mb",
    "bomb_return_deep",
    "bomb_frame_4gb",
    "forge_frame_type_code",
]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")


def python_for_ordinary_users() -> str:
    """A Python that an ordinary user can start: this one may lie in root's home."""
    for python in (sys.executable, "/usr/bin/python3"):
        if Path(python).exists():
            command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            try:
                if subprocess.run(command, user=65534, group=65534, capture_output=True, cwd="/").returncode == 0:
                    return python
            except OSError:
                continue
    pytest.skip("no Python 3.11 that an ordinary user could start")


def run_suite(layers: list[str], names: list[str], *, as_user: bool = False) -> dict:
    command = [str(SUITE), "sandbox", ",".join(layers), *names]
    if as_user and os.geteuid() == 0:
        command = [python_for_ordinary_users(), *command]
        done = subprocess.run(
            command, capture_output=True, text=True, user=65534, group=65534, extra_groups=[], cwd="/"
        )
    else:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    if set(report["missing"]) - {"uid"}:
        pytest.skip(f"this machine lacks {report['missing']}")
    return report


def assert_contained(report: dict, *, but: str = "nothing") -> None:
    """No pass, none left unjudged, no harm, no secret read, nothing left behind; honest programs pass afterwards."""
    programs = report["programs"]
    assert {name for name, r in programs.items() if r["status"] in ("passed", "unsupported", "error")} == set()
    assert report["harmed"] == []
    assert {name for name, r in programs.items() if hostile_suite.SECRET in r["detail"]} == set()
    breached = {name for name, r in programs.items() if "BREACH" in r["detail"]}
    assert {name for name in breached if not name.startswith(but)} == set()
    assert report["left_while_open"] <= 0
    assert report["left_after_close"] == 0
    assert set(report["honest"]) == {"passed"}


def test_hostile_programs_get_nowhere():
    report = run_suite(ALL, QUICK)

    assert_contained(report)


def test_attacks_on_the_sandboxs_own_modules_find_what_they_patch():
    report = run_suite(ALL, [name for name in hostile_suite.PROGRAMS if name.startswith("patch")])

    details = {name: result["detail"] for name, result in report["programs"].items()}
    assert {name for name, detail in details.items() if detail.startswith(("AttributeError", "KeyError"))} == set()


def test_no_hostile_program_has_been_lost():
    assert len(hostile_suite.PROGRAMS) >= 238
    assert len(hostile_suite.DAMAGING) >= 102


@pytest.mark.slow
@pytest.mark.parametrize("as_user", [False, True], ids=["same-user", "ordinary-user"])
@pytest.mark.parametrize("layers", [ALL, FILTERS, NAMESPACES], ids=["all", "filters", "namespaces"])
def test_every_hostile_program_gets_nowhere(layers, as_user):
    if as_user and os.geteuid() != 0:
        pytest.skip("this already is an ordinary user")

    report = run_suite(layers, QUICK if layers is NAMESPACES else [], as_user=as_user)

    # Without filters, a program may make sockets and the like, in namespaces where they lead nowhere.
    assert_contained(report, but="syscall" if layers is NAMESPACES else "nothing")


@pytest.mark.slow
def test_every_damage_happens_without_the_sandbox():
    if os.geteuid() != 0:
        pytest.skip("without the sandbox, some attacks on other processes need root")
    assert shutil.which("sh")

    done = subprocess.run([sys.executable, str(SUITE), "bare"], capture_output=True, text=True, cwd="/")
    harms = json.loads(done.stdout)

    assert len(harms) == len(hostile_suite.DAMAGING)
    assert {name for name in harms if hostile_suite.PROGRAMS[name][0] not in harms[name]} == set()
