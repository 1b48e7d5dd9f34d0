"""Hints how to install what is missing, whether this package came from a clone, a wheel or a git URL."""

import re
from contextlib import suppress
from importlib import metadata


def install_hint(extra: str) -> str:
    """The command that installs what an extra of this package needs, and the extra.

    The command names the packages themselves, as no index need have the project under its own name.
    """
    requirements: list[str] = []
    with suppress(metadata.PackageNotFoundError):
        requirements = metadata.requires("mot-trl") or []
    marked = re.compile(rf"""(.+?) *; *extra == ['"]{extra}['"]""")
    needed = [match[1] for each in requirements if (match := marked.fullmatch(each))]
    # The sources may be on the path without an installation, or newer than it.
    if not needed:
        return f'pip install ".[{extra}]" in a clone'
    return "pip install " + " ".join(f'"{name}"' for name in needed) + f" (the extra mot-trl[{extra}])"
