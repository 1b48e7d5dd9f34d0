"""The filter, run by a BPF interpreter: it lets through what its tables list, and nothing else."""

import struct

import pytest

from mot_trl.sandbox import seccomp, syscalls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003}
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
X32 = 0x40000000


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request, monkeypatch):
    monkeypatch.setattr(syscalls, "MACHINE", request.param)
    return request.param


def decide(number, *arguments, architecture):
    """What the filter of process 7 returns for a system call (linux/seccomp.h, linux/bpf_common.h)."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    call = struct.pack("IIQ6Q", number, ARCHITECTURES[architecture], 0, *padded)
    program, at, value = seccomp.instructions(7), 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x06:  # return
            return constant
        if code == 0x20:  # load
            (value,) = struct.unpack_from("I", call, constant)
        elif code == 0x05:  # jump
            at += constant
        else:  # jump if equal, or if greater or equal
            at += if_true if (value == constant if code == 0x15 else value >= constant) else if_false


def test_what_is_listed_goes_through_and_nothing_else(machine):
    checked = set(seccomp.numbers(seccomp._CHECKED).values())

    allowed = {n for n in range(600) if n not in checked and decide(n, architecture=machine) == ALLOW}

    assert allowed == set(seccomp.numbers(seccomp._PLAIN).values())


@pytest.mark.parametrize(
    ("name", "arguments", "goes_through"),
    [
        ("kill", (7,), True),
        ("kill", (8,), False),
        ("kill", (-1 & 0xFFFFFFFF,), False),
        ("tgkill", (8, 8), False),
        ("clone", (0x3D0F00,), True),
        ("clone", (0x11,), False),
        ("clone", (0x3D0F00 | 0x10000000,), False),
        ("clone3", (), False),
        ("prctl", (15,), True),
        ("prctl", (4,), False),
        ("fcntl", (3, 8), False),
        ("ioctl", (0, 0x5412), False),
        ("prlimit64", (0, 7, 0), True),
        ("prlimit64", (7, 7, 0), True),
        ("prlimit64", (0, 7, 0x1000), False),
        ("prlimit64", (0, 7, 1 << 32), False),
        ("prlimit64", (8, 7, 0), False),
    ],
)
def test_arguments_decide(machine, name, arguments, goes_through):
    verdict = decide(seccomp.numbers(seccomp._CHECKED)[name], *arguments, architecture=machine)

    assert (verdict == ALLOW) == goes_through
    assert goes_through or verdict & 0xFFFF0000 == ERRNO


def test_the_calls_of_another_architecture_kill(machine):
    others = set(ARCHITECTURES) - {machine}

    assert {decide(n, architecture=other) for other in others for n in range(600)} == {KILL}


def test_x32_calls_kill(monkeypatch):
    monkeypatch.setattr(syscalls, "MACHINE", "x86_64")

    assert {decide(X32 + n, architecture="x86_64") for n in range(600)} == {KILL}
