"""`Authorization: Bearer shp_…` for the REST API."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from webapp.accounts import tokens
from webapp.accounts.models import ApiToken, User


class BearerToken(BaseAuthentication):
    """Signs a request in by its token, and ties the person to the token for the length of the request."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        try:
            token = tokens.find(text.strip())
        except tokens.TokenRefused as refusal:
            raise AuthenticationFailed(str(refusal)) from None
        token.user.token = token
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema describes it. drf-spectacular finds extensions by their being imported."""

    target_class = BearerToken
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A token from the tokens page, `shp_…`."}
