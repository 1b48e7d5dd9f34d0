# attack: connect to a socket in a directory
# damage: network
import socket

client = socket.socket(socket.AF_UNIX)
client.connect("{DIR}/socket")
client.sendall(b"hello")


def add(a, b):
    return None
