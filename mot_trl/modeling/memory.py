"""How much memory may be taken."""

import re
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory that can be had without swapping, within the limits of a container or batch job.

    0 where the system does not say, as on any but Linux.

    Args:
        root: Where `proc` and `sys` are mounted.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    if found is None:
        return 0
    room = [int(found[1]) * 1024]
    for controllers, path in re.findall(r"^\d+:([^:\n]*):(/.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE):
        mount, limit, used = root / "sys/fs/cgroup", "memory.max", "memory.current"
        if controllers:
            mount, limit, used = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        if controllers and "memory" not in controllers.split(","):
            continue
        # Each group above has limits of its own. Inside a container only the last of these folders may be there.
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            numbers = _text(folder / limit).strip(), _text(folder / used).strip()
            if all(number.isdecimal() for number in numbers):
                room.append(int(numbers[0]) - int(numbers[1]))
            if folder == mount:
                break
    return max(0, min(room))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""
