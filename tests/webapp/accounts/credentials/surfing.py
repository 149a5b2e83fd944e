"""A browser that goes between this site and others: it follows redirects, keeps cookies of each, and fills forms in."""

import re
from typing import Any
from urllib.parse import urlsplit

import httpx
from django.test import Client

HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


class Surfer:
    """One person's browser. `site` is this site, in this process; every other host is asked over the network."""

    def __init__(self) -> None:
        self.site = Client()
        self.cookies = httpx.Cookies()
        self.visited: list[str] = []

    def get(self, address: str) -> Any:
        """The page to which an address leads in the end: Django's response for one of this site, httpx's for another's."""
        return self._follow("GET", address, None)

    def post(self, address: str, fields: dict[str, str]) -> Any:
        return self._follow("POST", address, fields)

    def sign_in_there(self, page: httpx.Response, name: str, password: str) -> Any:
        """Fills the provider's form in, and goes where that leads."""
        hidden = dict(HIDDEN.findall(page.text))
        return self.post(str(page.url), {**hidden, "username": name, "password": password})

    def ask(self, method: str, address: str, fields: dict[str, str] | None = None) -> httpx.Response:
        """One request to another site, over a connection of its own."""
        with httpx.Client(cookies=self.cookies) as client:
            response = client.request(method, address, data=fields)
            self.cookies = client.cookies
        return response

    def _follow(self, method: str, address: str, fields: dict[str, str] | None) -> Any:
        for _ in range(12):
            self.visited.append(address)
            parts = urlsplit(address)
            is_ours = parts.netloc in ("", "testserver")
            if is_ours:
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                response: Any = self.site.get(path) if method == "GET" else self.site.post(path, fields)
            else:
                response = self.ask(method, address, fields)
            if response.status_code not in (301, 302, 303):
                return response
            location = response.headers["Location"]
            address = location if urlsplit(location).netloc or is_ours else str(httpx.URL(address).join(location))
            method, fields = "GET", None
        raise AssertionError(f"redirected in circles: {self.visited}")
