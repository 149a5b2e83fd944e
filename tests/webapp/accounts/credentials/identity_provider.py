"""A real OpenID provider (django-oauth-toolkit), to be run as a program: `python -m … PORT FOLDER`, people and client as JSON in its environment.

PEOPLE is a list of `{"name", "password", "email", "verified", "groups"}`; CLIENT is `{"id", "secret", "redirect"}`. It keeps its own database in the
folder, demands PKCE, and asks people to sign in on a page of its own.
"""

import json
import os
import sys
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from jwcrypto.jwk import JWK

SIGN_IN = "<form method='post'>{% csrf_token %}{{ form }}<button>Sign in</button></form>"


def configure(folder: str) -> None:
    key = JWK.generate(kty="RSA", size=2048)
    settings.configure(
        DEBUG=False,
        SECRET_KEY="of the provider",
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/provider.sqlite3"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [
                        ("django.template.loaders.locmem.Loader", {"registration/login.html": SIGN_IN}),
                        "django.template.loaders.app_directories.Loader",
                    ],
                    "context_processors": ["django.template.context_processors.request"],
                },
            }
        ],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": key.export_to_pem(private_key=True, password=None).decode(),
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who you are", "email": "your address", "profile": "your name"},
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.validator",
        },
    )


def validator(*arguments: Any, **named: Any) -> Any:
    """What the provider says of people, besides a number that stays theirs."""
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class WithClaims(OAuth2Validator):
        oidc_claim_scope = None

        def get_additional_claims(self, request: Any) -> dict[str, Any]:
            person = request.user
            return {
                "preferred_username": person.get_username(),
                "email": person.email,
                "email_verified": person.is_staff,
                "groups": list(person.groups.values_list("name", flat=True)),
            }

    return WithClaims(*arguments, **named)


def fill() -> None:
    from django.contrib.auth.models import Group, User
    from oauth2_provider.models import Application

    for one in json.loads(os.environ["PEOPLE"]):
        person = User.objects.create_user(one["name"], one["email"], one["password"], is_staff=one["verified"])
        person.groups.set([Group.objects.get_or_create(name=name)[0] for name in one["groups"]])
    client = json.loads(os.environ["CLIENT"])
    Application.objects.create(
        client_id=client["id"],
        client_secret=client["secret"],
        redirect_uris=client["redirect"],
        client_type="confidential",
        authorization_grant_type="authorization-code",
        algorithm="RS256",
        skip_authorization=True,
    )


def main(port: int, folder: str) -> None:
    configure(folder)
    django.setup()
    call_command("migrate", verbosity=0)
    fill()
    from django.contrib.auth.views import LoginView
    from django.core.asgi import get_asgi_application
    from django.urls import include, path

    globals()["urlpatterns"] = [
        path("accounts/login/", LoginView.as_view()),
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]
    import uvicorn

    uvicorn.run(get_asgi_application(), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    sys.modules["identity_provider"] = sys.modules["__main__"]
    __name__ = "identity_provider"
    main(int(sys.argv[1]), sys.argv[2])
