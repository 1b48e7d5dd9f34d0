# attack: harm files through another program
# damage: files
import subprocess

subprocess.run(["rm", "{DIR}/precious"])


def add(a, b):
    return None
