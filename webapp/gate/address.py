"""Whose request it is. A client's address and scheme count as a trusted proxy tells them, and as the connection has them otherwise.

This is the one place that reads X-Forwarded-For and X-Forwarded-Proto. Behind it REMOTE_ADDR and the request's scheme are the truth, for
sign-in lockouts, limits, the audit trail and metrics alike.
"""

import logging
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
FORWARDED_FOR, FORWARDED_PROTO = b"x-forwarded-for", b"x-forwarded-proto"
WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([^:]*):[0-9]{1,5}")
"""`[::1]`, `[::1]:443` and `203.0.113.7:443`. Anything else with a bracket or one colon is no address."""
MOST_HOPS = 32
"""So many entries of X-Forwarded-For are looked at, from the right."""
MOST_STRANGERS = 100
"""So many senders of headers that do not count are named in the log."""


def trusted_proxies(variable: str, entries: Iterable[str]) -> tuple[Network, ...]:
    """The networks that a list of addresses and networks names. Raises ImproperlyConfigured with the entry that is wrong."""
    found = []
    for entry in entries:
        try:
            network = ip_network(entry)
        except ValueError:
            raise ImproperlyConfigured(
                f"{variable} must be addresses or networks such as 10.0.0.5 or 10.0.0.0/24; got {entry!r:.80}."
            ) from None
        if network.prefixlen == 0:
            raise ImproperlyConfigured(f"{variable} must name your proxies; {entry} is everybody, who could then claim any address.")
        found.append(network)
    return tuple(found)


def address_of(text: str) -> Address | None:
    """The address in one entry of X-Forwarded-For, with a port or without; None for anything else. IPv4 within IPv6 is IPv4."""
    with_port = WITH_PORT.fullmatch(text.strip())
    try:
        found = ip_address((with_port[1] or with_port[2] if with_port else text.strip()).partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


class ClientAddress:
    """ASGI: puts the client's address and scheme into the scope, once. Headers of a proxy that is not trusted change nothing."""

    def __init__(self, app: ASGI3Application, trusted: tuple[Network, ...]) -> None:
        self.app, self.trusted = app, trusted
        self._named: set[str] = set()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            self._settle(scope)
        await self.app(scope, receive, send)

    def _settle(self, scope: HTTPScope) -> None:
        host, port = scope["client"] or ("", 0)
        peer = address_of(host)
        headers = [(name, value) for name, value in scope["headers"] if name in (FORWARDED_FOR, FORWARDED_PROTO)]
        if peer is not None and headers and self._is_trusted(peer):
            client = self._walked(peer, b",".join(value for name, value in headers if name == FORWARDED_FOR).decode("latin-1"))
            port = port if client == peer else 0
            scheme = (
                b",".join(value for name, value in headers if name == FORWARDED_PROTO).decode("latin-1").rpartition(",")[2].strip().lower()
            )
            scope["scheme"] = scheme if scheme in {"http", "https"} else scope["scheme"]
            if not client.is_loopback:  # else they stay, as the sign of a request that came from further away than its address says
                scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in (FORWARDED_FOR, FORWARDED_PROTO)]
            peer = client
        elif headers:
            self._say_once(host)
        scope["client"] = None if peer is None else (str(peer), port or 0)

    def _walked(self, peer: Address, forwarded: str) -> Address:
        """From the right, each entry was written by the one to the right of it: it counts as long as that one is trusted."""
        client = peer
        for entry in reversed(forwarded.split(",")[-MOST_HOPS:]):
            if not self._is_trusted(client) or (found := address_of(entry)) is None:
                break
            client = found
        return client

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self.trusted)

    def _say_once(self, host: str) -> None:
        if host not in self._named and len(self._named) < MOST_STRANGERS:
            self._named.add(host)
            logger.warning(
                "X-Forwarded-… from %s is ignored: STILLHOUSE_TRUSTED_PROXIES does not list it. If it is your proxy, all its clients count as one.",
                host,
            )
