"""Listening sockets of our own, bound before anything heavy is loaded, so that the address is known early."""

import socket

LOOPBACK = "127.0.0.1"
API_PORT = 8321
PROBE_PORT = 9464
"""Taken where they are free and none was asked for."""
BACKLOG = 1_024


def listen(host: str, port: int | None, default: int, hint: str) -> socket.socket:
    """A listening socket; `port` None: `default` where it is free, or else any.

    Raises `OSError`, whose message end with `hint`.
    """
    try:
        return _listen(host, default if port is None else port, hint)
    except OSError:
        if port is not None:
            raise
        return _listen(host, 0, hint)


def _listen(host: str, port: int, hint: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        message = f"cannot listen on {host} port {port}: {error.strerror}; {hint}"
        raise OSError(error.errno, message) from None
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
