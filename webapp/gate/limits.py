"""How many requests one caller may make: a person, whatever they signed in by, or an address for all who have not.

A refused request reaches neither Django nor the database. Whether a cookie or a token is good is learned from the requests that got
through: until then it counts as its address, so that made-up ones buy nothing. A person whose sign-in is known here is served while somebody
else floods the site from the same address. Counts are those of one process: with n of them the limit is up to n times as high.
"""

import hashlib
import threading
from collections import OrderedDict
from functools import cache
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address, ip_network
from typing import Any, cast

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.functional import SimpleLazyObject, empty

from webapp.gate.inline import Inline
from webapp.gate.rates import MOST_KEPT, Buckets, Rate
from webapp.gate.refusal import NotNow, response_to

IS_KNOWN = "stillhouse.is_known"
"""In the scope of a request that got through: whether somebody who is known here has sent it."""

FILES = ("/static/", "/vendor/", "/healthz", "/readyz", "/metrics")
"""What costs little, and has a rate of its own: a page asks for a dozen of such files, and probes have no name."""

SIGN_IN_PAGES = ("sign-in", "sign-in-code", "admin:login", "password", "password-forgotten", "factor-off", "provider-connect")
SIGN_IN_COST = 10
"""A password is hashed in a tenth of a second or more, and with 100 MB of memory."""

WORDS = {
    "files": "Too many files for your address; try again in {wait}.",
    "address": "Too many requests from your address; try again in {wait}.",
    "person": "Too many requests from you; try again in {wait}.",
    "launch": "Too many launches; you may launch again in {wait}.",
    "tokens": "Too many new tokens; you may make another in {wait}.",
}


class KnownCallers:
    """Whose cookie or token was good a while ago. It decides whose requests are counted, never what they may do."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._people: OrderedDict[bytes, str] = OrderedDict()
        self._most_kept, self._lock = most_kept, threading.Lock()

    def remember(self, credential: str, person: str) -> None:
        with self._lock:
            self._people[_digest(credential)] = person
            self._people.move_to_end(_digest(credential))
            if len(self._people) > self._most_kept:
                self._people.popitem(last=False)

    def find(self, credential: str) -> str | None:
        with self._lock:
            return self._people.get(_digest(credential))

    def drop(self, credential: str) -> None:
        """It is no longer good: whoever still has it must not use up the person's share."""
        with self._lock:
            self._people.pop(_digest(credential), None)

    def forget(self) -> None:
        """Everybody is unknown again."""
        with self._lock:
            self._people.clear()


KNOWN = KnownCallers()
ADDRESSES, PEOPLE, DEEDS = Buckets(), Buckets(), Buckets()


def spend(deed: str, person: str) -> None:
    """Counts a launch or a new token of a person, by page or API. Raises NotNow beyond the rate of `settings.RATES[deed]`."""
    _take(DEEDS, deed, f"{deed} {person}")


def forget() -> None:
    """As after a start of the process."""
    for kept in (KNOWN, ADDRESSES, PEOPLE, DEEDS):
        kept.forget()


class RequestLimits:
    """ASGI: turns away who asks too often."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] == "http":
            try:
                cast(dict[str, bool], scope)[IS_KNOWN] = count(scope)
            except NotNow as refused:
                await _send(response_to(refused, scope["path"]), send)
                return
        await self.app(scope, receive, send)


def count(scope: HTTPScope) -> bool:
    """Counts one request, and returns whether a person who is known here has sent it; whoever sends a password is a stranger. Raises NotNow."""
    address = network_of(scope["client"][0] if scope["client"] else "")
    person = next((person for text in credentials_in(scope["headers"]) if (person := KNOWN.find(text))), None)
    if scope["method"] == "POST" and scope["path"] in sign_in_paths():
        _take(ADDRESSES, "address", address, SIGN_IN_COST)
        return False
    if scope["path"].startswith(FILES):
        _take(ADDRESSES, "files", f"files {address}")
    elif person is not None:
        _take(PEOPLE, "person", person)
    else:
        _take(ADDRESSES, "address", address)
    return person is not None


def network_of(address: str) -> str:
    """What counts as one caller: an IPv4 address; of IPv6 the /64, which one customer has whole."""
    try:
        found = ip_address(address)
    except ValueError:
        return "unknown"
    return address if found.version == 4 else str(ip_network((int(found), 64), strict=False))


def credentials_in(headers: Any) -> list[str]:
    """The token and the session's cookie of a request, as it sends them."""
    found = []
    for name, value in headers:
        text = value.decode("latin-1")
        if name == b"authorization":
            found.append(text)
        elif name == b"cookie" and settings.SESSION_COOKIE_NAME in text:
            found += _session_in(text)
    return found


class RememberCallers(Inline):
    """Django: learns from a served request whether its cookie or token is good. Asks the database nothing: it looks at what the view has asked."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        sent = request.headers.get("Authorization", "")
        if (token := getattr(request, "auth", None)) is not None:
            KNOWN.remember(sent, str(token.user_id))
            return response
        if sent and response.status_code == 401:
            KNOWN.drop(sent)
        user = _user_that_was_asked_for(request)
        if user is not None and user.is_authenticated and (key := request.session.session_key):
            KNOWN.remember(key, str(user.pk))
        elif user is not None and (cookie := request.COOKIES.get(settings.SESSION_COOKIE_NAME)):
            KNOWN.drop(cookie)
        return response


def _user_that_was_asked_for(request: HttpRequest) -> Any:
    """None where no view has asked who it is: then nobody knows."""
    user = getattr(request, "user", None)
    is_open = isinstance(user, SimpleLazyObject) and user._wrapped is empty
    return getattr(request, "_acached_user", None) if is_open else user


@cache
def sign_in_paths() -> frozenset[str]:
    """Where passwords are sent to."""
    return frozenset(reverse(name) for name in SIGN_IN_PAGES)


def _take(buckets: Buckets, kind: str, key: str, cost: int = 1) -> None:
    rate: Rate = settings.RATES[kind]
    if wait := buckets.take(key, rate, cost):
        raise NotNow(WORDS[kind].format(wait=_words(wait)), status=429, seconds=wait)


def _words(seconds: float) -> str:
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds > size:
            number = -int(-seconds // size)
            return f"{number} {name}{'s' * (number > 1)}"
    number = max(1, -int(-seconds // 1))
    return f"{number} second{'s' * (number > 1)}"


def _session_in(text: str) -> list[str]:
    try:
        cookie = SimpleCookie(text).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return []
    return [cookie.value] if cookie else []


def _digest(credential: str) -> bytes:
    return hashlib.blake2b(credential.encode("utf-8", "surrogatepass"), digest_size=16).digest()


async def _send(response: HttpResponse, send: ASGISendCallable) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.items()]
    headers.append((b"content-length", str(len(response.content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": response.content, "more_body": False})
