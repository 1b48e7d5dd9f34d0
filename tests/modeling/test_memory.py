"""How much memory may be taken, on machines of several kinds."""

from pathlib import Path

import pytest

from mot_trl.modeling.memory import available_memory

GIB = 2**30


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:  {8 * 2**20} kB\n", **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"proc/meminfo": "MemTotal: 9 kB\n"}, 0),
        # The group has no limit; the one above it has.
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/memory.max": "max\n",
                "sys/fs/cgroup/job/step/memory.current": f"{GIB}\n",
                "sys/fs/cgroup/job/memory.max": f"{6 * GIB}\n",
                "sys/fs/cgroup/job/memory.current": f"{2 * GIB}\n",
            },
            4,
        ),
        # Inside a container its own group is at the root, whatever its name outside.
        (
            {
                "proc/self/cgroup": "0::/../../pod\n",
                "sys/fs/cgroup/memory.max": f"{3 * GIB}\n",
                "sys/fs/cgroup/memory.current": f"{GIB}\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
                # Of another group, which has the name of ours among processors.
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "0\n",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{GIB}\n",
                "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
            },
            0,
        ),
    ],
    ids=["bare", "silent", "batch job", "container", "version 1", "over its limit"],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_memory(machine(tmp_path, files)) == expected * GIB


def test_it_is_nothing_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == 0
