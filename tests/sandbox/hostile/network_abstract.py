# attack: connect to a socket that has no file
# damage: network
import socket

client = socket.socket(socket.AF_UNIX)
client.connect("\0{NAME}")
client.sendall(b"hello")


def add(a, b):
    return None
