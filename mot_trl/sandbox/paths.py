"""What a guest may read: Python, its libraries, and the time zones."""

import os
import sys
import sysconfig


def readable() -> list[str]:
    """Existing absolute paths, none below another, both as written and with symbolic links resolved."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    shared = [os.path.join(sys.base_prefix, name) for name in ("lib", "lib64")]
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"]
    data = ["/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom"]
    configured = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    wanted = [*python, *shared, *system, *data, *configured]
    # "/" would allow everything: an empty prefix or a stray LD_LIBRARY_PATH must not lead there.
    absolute = {path.rstrip("/") for path in wanted if path.startswith("/") and path != "/" and os.path.exists(path)}
    absolute |= {os.path.realpath(path) for path in absolute}
    return sorted(path for path in absolute - {"/"} if not _below(path, absolute - {path}))


def keep_readable_imports(paths: list[str]) -> None:
    """Remove from `sys.path` what a guest could not read anyway: each failed look-up would cost it a system call."""
    sys.path[:] = [entry for entry in sys.path if _below(entry + "/", set(paths))]
    sys.path_importer_cache.clear()


def _below(path: str, paths: set[str]) -> bool:
    return any(path.startswith(other + "/") for other in paths)
