# attack: load a program into the kernel
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if (
    libc.syscall(
        321,
        0,
        ctypes.create_string_buffer(
            (1).to_bytes(4, "little") + (4).to_bytes(4, "little") * 2 + (1).to_bytes(4, "little"), 72
        ),
        72,
    )
    >= 0
):
    raise RuntimeError("BREACH bpf")


def add(a, b):
    return None
