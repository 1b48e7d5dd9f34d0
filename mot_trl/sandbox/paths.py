"""What a confined program may read: Python, its libraries, and the time zones."""

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
    absolute = {path.rstrip("/") for path in wanted if path.startswith("/") and path != "/" and os.path.exists(path)}
    absolute |= {os.path.realpath(path) for path in absolute}
    return sorted(path for path in absolute - {"/"} if not _below_another(path, absolute))


def _below_another(path: str, paths: set[str]) -> bool:
    return any(path.startswith(other + "/") for other in paths if other != path)


def keep_readable_imports(paths: list[str]) -> None:
    """Take out of `sys.path` what a confined program could not read anyway."""
    sys.path[:] = [entry for entry in sys.path if any((entry + "/").startswith(path + "/") for path in paths)]
    sys.path_importer_cache.clear()
