"""Listening sockets of our own, bound before anything heavy is loaded, so that the address is known early."""

import socket

LOOPBACK = "127.0.0.1"
API_PORT = 8321
PROBE_PORT = 9464
"""Taken where they are free and none was asked for."""
BACKLOG = 1_024


def listen(host: str, port: int | None, default: int, way_out: str) -> socket.socket:
    """A listening socket; `port` None: `default` where it is free, or else any.

    Raises `OSError`, whose words end with `way_out`.
    """
    try:
        return _listen(host, default if port is None else port, way_out)
    except OSError:
        if port is not None:
            raise
        return _listen(host, 0, way_out)


def _listen(host: str, port: int, way_out: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        words = f"cannot listen on {host} port {port}: {error.strerror}; {way_out}"
        raise OSError(error.errno, words) from None
    return bound


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
