"""Hostile programs that differ in one expression, as tables; those that need more lines are files in `hostile/`.

Standard library only. {DIR}, {PID}, {PORT} and {NAME} stand for the targets of `hostile_suite`.
"""

import re

# Each runs one statement while it loads; by what it harms ("" if it only cheats).
_STATEMENTS = {
    "": {
        "exit_abort": "os.abort()",
        "exit_native": "ctypes.CDLL(None)._exit(0)",  # end the process behind Python
        "exit_os_exit": "os._exit(0)",  # end the process with success
        "exit_segfault": "ctypes.string_at(0)",  # read address zero
        "exit_syscall": "ctypes.CDLL(None).syscall(231, 0)",  # end the process by a raw system call
        "exit_system_exit": "raise SystemExit(0)",  # leave with success
        "hang_power": "9**9**9",  # compute a number too large for the universe, in one C call
        "hang_regex": 're.match("(a+)+b", "a" * 60)',  # match without end, in one C call
        "hang_sleep": "time.sleep(1000)",  # sleep past the deadline
        "hang_sleep_native": "ctypes.CDLL(None).sleep(1000)",  # sleep in C, where no Python signal handler runs
    },
    "files": {
        "files_append": 'open("{DIR}/precious", "a").write("more")',
        "files_at_exit": 'atexit.register(os.unlink, "{DIR}/precious")',
        "files_chmod": 'os.chmod("{DIR}/precious", 0o644)',
        "files_create": 'open("{DIR}/new", "w").close()',
        "files_exec": 'os.execv("/bin/rm", ["rm", "{DIR}/precious"])',  # become another program
        "files_fill": 'open("{DIR}/big", "wb").write(bytes(4 << 20))',
        "files_hardlink": 'os.link("{DIR}/precious", "{DIR}/hard")',
        "files_io": '_io.FileIO("{DIR}/precious", "w").write(b"gone")',
        "files_mkdir": 'os.mkdir("{DIR}/made")',
        "files_mkfifo": 'os.mkfifo("{DIR}/pipe")',
        "files_native": 'ctypes.CDLL(None).unlink(b"{DIR}/precious")',
        "files_overwrite": 'open("{DIR}/precious", "w").write("gone")',
        "files_posix": 'posix.unlink("{DIR}/precious")',
        # harm files through posix_spawn
        "files_posix_spawn": 'os.waitpid(os.posix_spawn("/bin/rm", ["rm", "{DIR}/precious"], {}), 0)',
        "files_rename": 'os.rename("{DIR}/precious", "{DIR}/moved")',
        "files_rmtree": 'shutil.rmtree("{DIR}/inner")',
        "files_subprocess": 'subprocess.run(["rm", "{DIR}/precious"])',  # harm files through another program
        "files_symlink": 'os.symlink("/etc/passwd", "{DIR}/link")',
        "files_system": 'os.system("rm {DIR}/precious")',  # harm files through a shell
        "files_truncate": 'os.truncate("{DIR}/precious", 0)',
        "files_unlink": 'os.unlink("{DIR}/precious")',
        "files_utime": 'os.utime("{DIR}/precious", (1, 1))',
        "files_xattr": 'os.setxattr("{DIR}/precious", "user.mark", b"1")',
    },
    "process": {
        "process_kill": "os.kill({PID}, 9)",  # kill another process
        "process_kill_group": "os.killpg({PID}, 9)",  # kill a group of processes
        "process_kill_native": "ctypes.CDLL(None).syscall(62, {PID}, 9)",  # kill by a raw system call
        "process_pidfd": "signal.pidfd_send_signal(os.pidfd_open({PID}), 9)",  # kill through a process descriptor
        "process_tgkill": "ctypes.CDLL(None).syscall(234, {PID}, {PID}, 9)",  # kill a thread of another process
    },
    "secret": {
        "secret_environment": 'raise RuntimeError(os.environ["HOSTILE_SECRET"])',  # read the environment
        "secret_file": 'raise RuntimeError(open("{DIR}/secret").read())',  # read a file
        "secret_list": 'raise RuntimeError(os.listdir("{DIR}/names"))',  # list a directory
        # read another process's arguments
        "secret_other_cmdline": 'raise RuntimeError(open("/proc/{PID}/cmdline").read()[-400:])',
        # read another process's environment
        "secret_other_environ": 'raise RuntimeError(open("/proc/{PID}/environ").read()[-400:])',
        # walk to the secret through another process
        "secret_proc_cwd": 'raise RuntimeError(open("/proc/{PID}/cwd/secret").read())',
        # read the environment as it was at the start
        "secret_proc_environ": 'raise RuntimeError(open("/proc/self/environ").read())',
    },
    "breach": {
        "secret_passwd": 'raise RuntimeError("BREACH " + open("/etc/passwd").read().split()[0])',  # read the users
    },
}

# Each makes one system call that must fail; numbers of x86_64.
_SYSCALLS = {
    "breach": {
        # move to another processor
        "affinity": r'libc.syscall(203, 0, 8, ctypes.create_string_buffer(b"\xff\xff\xff\xff\xff\xff\xff\xff"))',
        "dumpable": "libc.syscall(157, 4, 1, 0, 0, 0)",  # become readable for others
        "epoll": "libc.syscall(291, 0)",  # make an event queue
        "eventfd": "libc.syscall(290, 0, 0)",  # make an event
        "inotify": "libc.syscall(253)",  # watch files
        "io_uring": "libc.syscall(425, 4, ctypes.create_string_buffer(120))",  # set up io_uring
        "keyring": "libc.syscall(250, 1, None)",  # make a key ring
        "memfd": 'libc.syscall(319, b"x", 0)',  # make a file that lies in no directory
        "msgget": "libc.syscall(68, 0, 0o1600)",  # make a message queue
        "netlink": "libc.syscall(41, 16, 3, 0)",  # make a netlink socket
        # open by the newer call
        "openat2": 'libc.syscall(437, -100, b"{DIR}/secret", ctypes.create_string_buffer(24), 24)',
        "pdeathsig": "libc.syscall(157, 1, 0, 0, 0, 0)",  # survive one's parent
        "personality": "libc.syscall(135, 0x0040000)",  # switch off address randomization
        "pidfd_open": "libc.syscall(434, {PID}, 0)",  # get hold of another process
        "ptrace": "libc.syscall(101, 0, 0, 0, 0)",  # let oneself be traced
        "sched": "libc.syscall(141, 0, 0, 5)",  # take all processors
        # change one's filter
        "seccomp": 'libc.syscall(317, 2, 0, ctypes.create_string_buffer((0x7FFF0000).to_bytes(4, "little")))',
        "semget": "libc.syscall(64, 0, 1, 0o1600)",  # make semaphores
        "sendfile": 'libc.syscall(40, 1, libc.open(b"{DIR}/secret", 0), None, 10)',  # copy between files in the kernel
        "shmget": "libc.syscall(29, 0, 4096, 0o1600)",  # make shared memory
        "socket": "libc.syscall(41, 2, 1, 0)",  # make a socket
        "socketpair": "libc.syscall(53, 1, 1, 0, ctypes.create_string_buffer(8))",  # make sockets that pass files
        "timer": "libc.syscall(222, 0, None, ctypes.create_string_buffer(8))",  # make a timer that signals
        "unshare_mount": "libc.syscall(272, 0x10020000)",  # get mounts of one's own
        "unshare_user": "libc.syscall(272, 0x10000000)",  # become root in a namespace
        "userfaultfd": "libc.syscall(323, 1)",  # stop the kernel in a page fault
    },
    "": {
        "chroot": 'libc.syscall(161, b"/")',  # change the root
        "handle": "libc.syscall(304, -100, ctypes.create_string_buffer(64), 0)",  # open a file by its handle
        "memfd_secret": "libc.syscall(447, 0)",  # make memory that the kernel cannot read
        "mount": 'libc.syscall(165, b"none", b"/tmp", b"tmpfs", 0, None)',  # mount a file system
        "mqueue": 'libc.syscall(240, b"hostile{PID}", 0o102, 0o600, None)',  # make a POSIX message queue
        # watch the processor
        "perf": "libc.syscall(298, ctypes.create_string_buffer(bytes([1, 0, 0, 0, 112]), 128), 0, -1, -1, 0)",
        "setuid": "libc.syscall(105, 0)",  # become root
        "x32": "libc.syscall(0x40000000 | 39)",  # use the x32 entry
        "x32_kill": "libc.syscall(0x40000000 | 62, {PID}, 9)",  # kill through the x32 entry
    },
}

# Each answers with a malformed message.
_FRAMES = {
    "empty": b"",
    "int_float": b'{"value":{"int":3}}',
    "list": b"[true,true,true]",
    "nan_token": b'{"value":NaN}',
    "not_json": b"passed",
    "not_text": b"\xff\xfe",
    "object": b'{"value":{"object":99999}}',
    "object_negative": b'{"value":{"object":-1}}',
    "overflow_flag": b'{"overflow":"yes","value":3}',
    "pickle": b'{"value":{"pickle":"gASVBQAAAAAAAAB9lC4="}}',
    "tree": b'{"value":{"TreeNode":[true]}}',
    "true": b"true",
    "two_keys": b'{"value":{"int":"3","float":"3"}}',
    "type_code": b'{"value":{"type":"object"}}',
    "unhashable": b'{"value":{"set":[[1]]}}',
    "ask": b'{"ask":"call","target":0,"inputs":[[],{"dict":[]}]}',
    "ask_nothing": b'{"ask":null}',
    "array_objects": b'{"value":{"ndarray":["O8",[1],{"bytes":"0000000000000000"}]}}',
    "array_shape": b'{"value":{"ndarray":["<i8",[9],{"bytes":"0000000000000000"}]}}',
    "decimal": b'{"value":{"Decimal":["3.0001"]}}',
    "fields": b'{"value":{"namedtuple":["x",["__class__"],[3]]}}',
    "fraction_zero": b'{"value":{"Fraction":[3,0]}}',
    "handed": b'{"value":{"handed":0}}',
    "import": b'{"value":{"import":["os","system"]}}',
    "instance": b'{"value":{"instance":["Job",{"dict":[]}]}}',
    "range_huge": b'{"value":{"range":[0,{"int":"ffffffffffffffffffffff"},1]}}',
    "raised_types": b'{"raised":"x","types":["builtins.NameError",3,null],"arguments":[{"object":-1}],"object":0}',
    "raised_group": b'{"raised":"x","types":["builtins.ExceptionGroup"],"arguments":7,"object":"x"}',
    "reduced": b'{"value":{"reduced":[{"import":["os","getpid"]},{"tuple":[]}]}}',
    "unknown": b'{"value":{"verdict":true}}',
}

# Each answers with a value of a subclass that claims to equal everything; with what its constructor takes.
_EQUALS = {"int": "0", "float": "0.0", "complex": "0", "str": '""', "list": "", "tuple": "", "set": "", "dict": ""}

_MODULES = ("_io", "atexit", "ctypes", "os", "posix", "re", "shutil", "signal", "subprocess", "time")
_NO_ANSWER = "\n\n\ndef add(a, b):\n    return None\n"
_SYSCALL = """\
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
if <CALL> >= 0:
    raise RuntimeError("BREACH <NAME>")"""
_FRAME = """\
import os


def add(a, b):
    line = <LINE>
    os.write(3, len(line).to_bytes(4, "big") + line)
    while True:
        pass
"""
_EQUAL = """\
class Equal(<TYPE>):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return 0


def add(a, b):
    return Equal(<VALUE>)
"""


def _statement(code: str) -> str:
    imports = [f"import {name}" for name in _MODULES if re.search(rf"\b{name}\.", code)]
    return "\n".join([*imports, "", code]) + _NO_ANSWER


def _syscall(name: str, call: str) -> str:
    return _SYSCALL.replace("<CALL>", call).replace("<NAME>", name) + _NO_ANSWER


def programs() -> dict[str, tuple[str | None, str]]:
    """By name, what each program harms (None if it only cheats), and its source."""
    found: dict[str, tuple[str | None, str]] = {}
    for damage, table in _STATEMENTS.items():
        found |= {name: (damage or None, _statement(code)) for name, code in table.items()}
    for damage, table in _SYSCALLS.items():
        found |= {f"syscall_{name}": (damage or None, _syscall(name, call)) for name, call in table.items()}
    for name, line in _FRAMES.items():
        found[f"forge_frame_{name}"] = (None, _FRAME.replace("<LINE>", repr(line)))
    for kind, value in _EQUALS.items():
        found[f"equal_{kind}"] = (None, _EQUAL.replace("<TYPE>", kind).replace("<VALUE>", value))
    # Crash the compiler.
    found["bomb_source_nesting"] = (None, f"x = {'-' * 200_000}1" + _NO_ANSWER)
    return found
