"""OpenID Connect with the one provider that the operator names: code flow with state, nonce and PKCE, all by Authlib."""

from functools import cache
from typing import Any

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import OAuth
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from joserfc.errors import JoseError

SECONDS = 10
"""How long the provider may take for each answer."""


class ProviderFailed(Exception):
    """The provider can't be reached, or what it sent is not to be trusted. The message is a sentence for the person."""


def away(request: HttpRequest) -> HttpResponse:
    """Leads the browser to the provider. Raises ProviderFailed."""
    try:
        response: HttpResponse = _client().authorize_redirect(request, request.build_absolute_uri(reverse("sign-in-provider-back")))
    except (requests.RequestException, RuntimeError, ValueError):
        raise ProviderFailed(f"{settings.OIDC.title} can't be reached; try again in a moment.") from None
    return response


def claims_of(request: HttpRequest) -> dict[str, Any]:
    """What the provider says of who has come back: the claims of the ID token, whose signature, issuer, audience, age and nonce are checked, and
    those of the user info about the same subject. Raises ProviderFailed."""
    client = _client()
    try:
        token = client.authorize_access_token(request, claims_options={"iss": {"essential": True, "values": [settings.OIDC.issuer]}})
        claims = dict(token.get("userinfo") or {})
        if claims and "userinfo_endpoint" in client.load_server_metadata():
            more = client.userinfo(token=token)
            claims = {**more, **claims} if more.get("sub") == claims.get("sub") else {}
    except requests.RequestException:
        raise ProviderFailed(f"{settings.OIDC.title} can't be reached; try again in a moment.") from None
    except (AuthlibBaseError, JoseError, RuntimeError, ValueError):
        claims = {}
    if not claims:
        raise ProviderFailed(f"{settings.OIDC.title} did not confirm who you are; start again.")
    return claims


@cache
def _registered(issuer: str, client: str, secret: str) -> Any:
    """The client, which asks the provider for its addresses and keys once."""
    return OAuth().register(
        "provider",
        client_id=client,
        client_secret=secret or None,
        server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email profile",
            "code_challenge_method": "S256",
            "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
            "default_timeout": SECONDS,
        },
    )


def _client() -> Any:
    return _registered(settings.OIDC.issuer, settings.OIDC.client, settings.OIDC.secret)
