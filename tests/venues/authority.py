"""A certificate authority that lives as long as the process of tests, and what trusts it."""

import ssl
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import trustme


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(hosts: Iterable[str]) -> ssl.SSLContext:
    """What a server shows that calls itself by these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority().issue_cert(*hosts).configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """It trusts the authority alone, as a client with `SSL_CERT_FILE` set to its file does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def trusting(certificate: str) -> ssl.SSLContext:
    """The same in another process, which was given the authority's certificate (PEM)."""
    return ssl.create_default_context(cadata=certificate)


def write_authority(file: Path) -> None:
    authority().cert_pem.write_to_path(str(file))
