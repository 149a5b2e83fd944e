"""How tests of pages ask for them."""

from typing import Any

from django.test import Client

from webapp.accounts.models import User

HTMX = {"HTTP_HX_REQUEST": "true"}


def as_(user: User | None) -> Client:
    """A browser in which the person has signed in; nobody has for None."""
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def text_of(response: Any) -> str:
    return response.content.decode()
