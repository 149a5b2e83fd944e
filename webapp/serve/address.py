"""Where the web server listens: who could reach it there, and whether the place is free."""

import ipaddress
import os
import socket
from contextlib import suppress

from webapp import development
from webapp.serve.lives import ServeError

FIRST_PORT = 8000
PORTS = 100
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not listened on, only known
PRODUCTION = {"STILLHOUSE_SECRET_KEY": "a long random text of your own", "STILLHOUSE_HOSTS": "the host names that people type"}


def refuse_strangers(host: str) -> None:
    """Raises ServeError for an address that others can reach while nobody has configured production."""
    if is_loopback(host):
        return
    missing = [f"{name} to {what}" for name, what in PRODUCTION.items() if not os.environ.get(name)]
    if missing:
        raise ServeError(f"--host {host}: other machines could reach it, so set {' and '.join(missing)}; or leave --host out.")
    if development.is_on():
        raise ServeError(f"--host {host}: other machines could reach it, so STILLHOUSE_DEBUG must not be on; unset it.")


def is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def port_to_listen_on(host: str, wanted: int | None) -> int:
    """The port that was asked for, or the first free one. Raises ServeError when it is taken."""
    if wanted is None:
        return free_port(host, FIRST_PORT)
    try:
        _bind(host, wanted)
    except OSError as error:
        raise ServeError(f"--port {wanted}: can't listen on {host} there ({error.strerror}); give another port, or leave it out.") from None
    return wanted


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + PORTS):
        with suppress(OSError):
            _bind(host, port)
            return port
    raise ServeError(f"No port from {first} to {first + PORTS - 1} is free on {host}; give another with --port.")


def _bind(host: str, port: int) -> None:
    """Listens for a moment, as the web server will."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise ServeError(f"--host {host}: this machine knows no such address.") from None
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()


def url(host: str, port: int, *, shown: bool = False) -> str:
    """How this machine reaches the web server; `shown` as a person would write it."""
    host = EVERY_ADDRESS.get(host, host)
    if shown and host == "127.0.0.1":
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
