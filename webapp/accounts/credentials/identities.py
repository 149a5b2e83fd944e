"""Which account an identity at the provider leads to, and which identities are let in at all.

An identity is an issuer and a subject. Neither an e-mail address nor a name leads to an account that is there already: addresses of accounts
here are not verified, and a provider may give a name to somebody else. Who has an account connects it, signed in, by their own hand.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from webapp.accounts import audit
from webapp.accounts.models import ProviderIdentity, User

MOST_TRIES = 100


class IdentityRefused(Exception):
    """An identity that leads to no account. The message is a sentence for the person."""


def account_of(claims: Mapping[str, Any]) -> User:
    """The account of an identity that the provider has vouched for; a new one where the operator lets it be made. Raises IdentityRefused."""
    _admit(claims)
    known = ProviderIdentity.objects.select_related("user").filter(issuer=settings.OIDC.issuer, subject=claims["sub"]).first()
    user = known.user if known else _new_account(claims)
    if not user.is_active:
        raise IdentityRefused("This account may not sign in; ask an administrator.")
    return user


@transaction.atomic
def connect(user: User, claims: Mapping[str, Any]) -> None:
    """Ties an identity to an account that is there. Raises IdentityRefused where it is another's already."""
    _admit(claims)
    identity, _ = ProviderIdentity.objects.get_or_create(issuer=settings.OIDC.issuer, subject=claims["sub"], defaults={"user": user})
    if identity.user_id != user.pk:
        raise IdentityRefused(f"This identity at {settings.OIDC.title} belongs to another account.")


def verified_address(claims: Mapping[str, Any]) -> str:
    """The e-mail address, in lower case, that the provider says it has verified; empty where it does not say so."""
    address = claims.get("email")
    return address.lower() if isinstance(address, str) and claims.get("email_verified") is True else ""


def _admit(claims: Mapping[str, Any]) -> None:
    """Raises IdentityRefused for who is in none of the operator's domains or groups."""
    provider = settings.OIDC
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise IdentityRefused(f"{provider.title} did not say who you are.")
    domain = verified_address(claims).rpartition("@")[2]
    if provider.domains and domain not in provider.domains:
        raise IdentityRefused(f"A verified e-mail address at {_one_of(provider.domains)} is needed to sign in with {provider.title}.")
    groups = claims.get(provider.groups_claim)
    mine = {group for group in groups if isinstance(group, str)} if isinstance(groups, list) else set()
    if provider.groups and not provider.groups & mine:
        raise IdentityRefused(f"Signing in with {provider.title} is for members of {_one_of(provider.groups)}.")


@transaction.atomic
def _new_account(claims: Mapping[str, Any]) -> User:
    address = verified_address(claims)
    if not settings.OIDC.makes_accounts or not address:
        raise IdentityRefused(
            f"No account here is connected to you at {settings.OIDC.title}; sign in with a password and connect it, or ask an administrator."
        )
    wanted = claims.get("preferred_username")
    user = User(username=_free_name(wanted if isinstance(wanted, str) else address.partition("@")[0]), email=address[:254])
    user.set_unusable_password()
    user.save()
    ProviderIdentity.objects.create(user=user, issuer=settings.OIDC.issuer, subject=claims["sub"])
    audit.of_account(user, "made account", None, by=settings.OIDC.title)
    return user


def _free_name(wanted: str) -> str:
    """A user name that nobody has, like the one that is wanted."""
    name = re.sub(r"[^\w.+-]", "", wanted.partition("@")[0], flags=re.ASCII)[:100] or "person"
    candidates = [name, *(f"{name}-{number}" for number in range(2, MOST_TRIES))]
    taken = {one.lower() for one in User.objects.filter(username__istartswith=name).values_list("username", flat=True)}
    return next((candidate for candidate in candidates if candidate.lower() not in taken), f"{name}-{secrets.token_hex(4)}")


def _one_of(names: frozenset[str]) -> str:
    return " or ".join(sorted(names))
