"""Wants to tell somebody outside what it found."""

import errno
import socket


def attempt(family: socket.AddressFamily, kind: socket.SocketKind, address: str, port: int) -> bool:
    """Whether something could be sent; prints what the kernel said."""
    try:
        with socket.socket(family, kind) as connection:
            connection.settimeout(3)
            connection.connect((address, port))
            connection.send(b"found something")
    except OSError as error:
        print(f"{address} port {port}: {errno.errorcode.get(error.errno or 0, error)}")
        return False
    print(f"{address} port {port}: SENT")
    return True


print("interfaces: " + ", ".join(name for _, name in socket.if_nameindex()))
sent = [
    attempt(socket.AF_INET, socket.SOCK_STREAM, "1.1.1.1", 443),
    attempt(socket.AF_INET, socket.SOCK_DGRAM, "8.8.8.8", 53),
    attempt(socket.AF_INET6, socket.SOCK_STREAM, "2606:4700:4700::1111", 443),
]
raise SystemExit(any(sent))
