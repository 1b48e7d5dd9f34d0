# attack: kill through a process descriptor
# damage: process
import os
import signal

signal.pidfd_send_signal(os.pidfd_open({PID}), 9)


def add(a, b):
    return None
