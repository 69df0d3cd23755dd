"""Whether the server can host models, asked as a client would ask."""

from __future__ import annotations

import socket


def answers_ok(host: str, port: int) -> bool:
    """Whether GET /clary/health answers 200 at the public port."""
    name = f"[{host}]" if ":" in host else host
    head = f"GET /clary/health HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            connection.sendall(head.encode())
            return connection.recv(4096).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
