"""Servers of others that the site may use, as settings name them: one that takes mail, and one that says who people are."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Mail:
    """The server that takes mail. `over_tls` from the first byte, `starts_tls` after a greeting in the clear; without a host there is none."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    over_tls: bool = False
    starts_tls: bool = False


@dataclass(frozen=True)
class IdentityProvider:
    """Whom people may sign in with besides a password (OpenID Connect). Off without an issuer."""

    issuer: str
    client: str
    secret: str
    title: str
    domains: frozenset[str]
    groups: frozenset[str]
    groups_claim: str

    @property
    def makes_accounts(self) -> bool:
        """Only for whom the operator has named: without domains or groups anybody at a public provider would have an account."""
        return bool(self.domains or self.groups)


def mail(url: str) -> Mail:
    """`smtp://user:password@host:port` (TLS after the greeting), `smtps://…` (TLS at once), or `smtp+plain://…` for a server on this machine.

    Raises ImproperlyConfigured without repeating the address, which holds a password.
    """
    if not url:
        return Mail()
    parts = urlsplit(url)
    ports = {"smtp": 587, "smtps": 465, "smtp+plain": 25}
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ports or not host or (parts.scheme == "smtp+plain" and host not in LOOPBACK):
        raise ImproperlyConfigured(
            "STILLHOUSE_EMAIL_URL must be smtp://user:password@host:port or smtps://…; smtp+plain:// is for a server on this machine."
        )
    return Mail(
        host=host,
        port=port or ports[parts.scheme],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        over_tls=parts.scheme == "smtps",
        starts_tls=parts.scheme == "smtp",
    )


def identity_provider(
    *, issuer: str, client: str, secret: str, title: str, domains: Sequence[str], groups: Sequence[str], groups_claim: str
) -> IdentityProvider:
    """Raises ImproperlyConfigured for an issuer in the clear beyond this machine, and for one without a client."""
    parts = urlsplit(issuer)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if issuer and not (is_safe and parts.hostname):
        raise ImproperlyConfigured(f"STILLHOUSE_OIDC_ISSUER must be an https:// address; got {issuer!r:.80}.")
    if issuer and not client:
        raise ImproperlyConfigured("STILLHOUSE_OIDC_ISSUER is set, so STILLHOUSE_OIDC_CLIENT must be the client's id at that provider.")
    return IdentityProvider(
        issuer=issuer,
        client=client,
        secret=secret,
        title=title,
        domains=frozenset(domain.lower() for domain in domains),
        groups=frozenset(groups),
        groups_claim=groups_claim,
    )
