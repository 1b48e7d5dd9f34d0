# attack: connect to a local service
# damage: network
import socket

socket.create_connection(("127.0.0.1", {PORT}), timeout=5).sendall(b"hello")


def add(a, b):
    return None
