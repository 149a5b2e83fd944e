"""Whose request it is: what a trusted proxy says, and nothing that anybody else does."""

import os
import subprocess
import sys
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from webapp.gate.address import ClientAddress, address_of, trusted_proxies

PROXIES = trusted_proxies("PROXIES", ["10.0.0.1", "10.1.0.0/16", "fd00::/8"])


def seen(peer: str | None, *headers: tuple[str, str], trusted: Any = PROXIES) -> tuple[Any, str, list[str]]:
    """Client, scheme and the names of the headers that are left, as an application behind it has them."""
    found: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["client"] and scope["client"][0], scope["scheme"], [name.decode() for name, _ in scope["headers"]]))

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "client": None if peer is None else (peer, 4321), "scheme": "http", "headers": pairs}
    async_to_sync(ClientAddress(application, trusted))(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("198.51.100.9, 203.0.113.7", "203.0.113.7"),  # the left one is what the client wrote
        ("198.51.100.9, 203.0.113.7, 10.1.2.3", "203.0.113.7"),  # two proxies, one behind the other
        ("203.0.113.7,10.1.2.3 , fd00::1", "203.0.113.7"),
        ("10.1.2.3", "10.1.2.3"),  # a proxy's own request
        ("garbage", "10.0.0.1"),
        ("203.0.113.7, garbage", "10.0.0.1"),
        ("garbage, 203.0.113.7", "203.0.113.7"),
        ("", "10.0.0.1"),
        (",,,", "10.0.0.1"),
        ("127.0.0.1'; DROP TABLE", "10.0.0.1"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[::1", "10.0.0.1"),
        ("[::1]:x", "10.0.0.1"),
        ("[::1]443", "10.0.0.1"),
        ("203.0.113.7:x", "10.0.0.1"),
        ("203.0.113.7:", "10.0.0.1"),
        ("203.0.113.7:443443", "10.0.0.1"),
        ("1.2.3.4.5, unknown", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),  # PostgreSQL's inet has no zones
        ("\xff\xfe", "10.0.0.1"),
    ],
)
def test_a_trusted_proxy_tells_the_client_and_its_list_is_read_from_the_right(forwarded: str, client: str) -> None:
    assert seen("10.0.0.1", ("x-forwarded-for", forwarded))[0] == client


@pytest.mark.parametrize("peer", ["203.0.113.99", "127.0.0.1", "10.0.0.2"])
def test_who_is_no_trusted_proxy_is_the_client_whatever_it_writes(peer: str) -> None:
    client, scheme, headers = seen(peer, ("x-forwarded-for", "198.51.100.9"), ("x-forwarded-proto", "https"))

    assert (client, scheme) == (peer, "http")
    assert headers == ["x-forwarded-for", "x-forwarded-proto"]  # metrics see by them that a proxy stands in front


def test_several_headers_are_one_list_in_their_order() -> None:
    client, _, headers = seen("10.0.0.1", ("x-forwarded-for", "198.51.100.9"), ("host", "x"), ("x-forwarded-for", "203.0.113.7"))

    assert (client, headers) == ("203.0.113.7", ["host"])


@pytest.mark.parametrize("forwarded", ["127.0.0.1", "::1", "[::1]:443", "127.0.0.1:80", "::ffff:127.0.0.1", "garbage"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.0.0.1"])
def test_who_came_through_a_proxy_is_never_taken_for_a_program_of_this_machine(peer: str, forwarded: str) -> None:
    """A proxy's own machine has such addresses too."""
    client, _, headers = seen(peer, ("x-forwarded-for", forwarded), trusted=trusted_proxies("PROXIES", ["127.0.0.1", "::1", "10.0.0.1"]))

    assert client == "10.0.0.1" or headers == ["x-forwarded-for"]


def test_a_list_of_a_megabyte_costs_a_few_entries() -> None:
    forwarded = ",".join(["10.1.2.3"] * 100_000)

    assert seen("10.0.0.1", ("x-forwarded-for", "203.0.113.7," + forwarded))[0] == "10.1.2.3"


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("https, http", "http"), ("javascript", "http"), ("", "http")],
)
def test_the_scheme_is_what_the_nearest_proxy_says(proto: str, scheme: str) -> None:
    assert seen("10.0.0.1", ("x-forwarded-proto", proto))[1] == scheme


@pytest.mark.parametrize(("peer", "client"), [(None, None), ("", None), ("not-an-address", None), ("fe80::1%eth0", "fe80::1")])
def test_a_peer_without_an_address_is_nobody(peer: str | None, client: str | None) -> None:
    assert seen(peer, ("x-forwarded-for", "203.0.113.7"))[0] == client


def test_what_is_no_request_passes_as_it_is() -> None:
    got: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        got.append(scope)

    async_to_sync(ClientAddress(application, PROXIES))({"type": "lifespan"}, None, None)  # type: ignore[typeddict-item,arg-type]

    assert got == [{"type": "lifespan"}]


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("*", "PROXIES must be addresses or networks such as 10.0.0.5 or 10.0.0.0/24; got '*'."),
        ("proxy.example.com", "PROXIES must be addresses or networks such as 10.0.0.5 or 10.0.0.0/24; got 'proxy.example.com'."),
        ("10.0.0.5/24", "PROXIES must be addresses or networks such as 10.0.0.5 or 10.0.0.0/24; got '10.0.0.5/24'."),
        ("0.0.0.0/0", "PROXIES must name your proxies; 0.0.0.0/0 is everybody, who could then claim any address."),
        ("::/0", "PROXIES must name your proxies; ::/0 is everybody, who could then claim any address."),
    ],
)
def test_a_list_that_is_none_is_refused_with_a_sentence(entry: str, sentence: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        trusted_proxies("PROXIES", ["10.0.0.1", entry])

    assert str(refused.value) == sentence


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_site_does_not_start_when_everybody_is_a_proxy() -> None:
    started = python("import webapp.settings", STILLHOUSE_TRUSTED_PROXIES="*")

    assert started.returncode != 0
    assert started.stderr.strip().endswith(
        "STILLHOUSE_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.5 or 10.0.0.0/24; got '*'."
    )


def test_the_web_server_does_not_start_while_uvicorn_is_told_to_believe_others() -> None:
    started = python("import webapp.asgi", FORWARDED_ALLOW_IPS="*")

    assert started.returncode != 0
    assert started.stderr.strip().endswith("unset it, and name your proxies in STILLHOUSE_TRUSTED_PROXIES.")


@pytest.mark.parametrize(
    ("environment", "trusted"),
    [
        ({}, []),
        ({"STILLHOUSE_BEHIND_PROXY": "on"}, ["127.0.0.1/32", "::1/128"]),
        ({"STILLHOUSE_TRUSTED_PROXIES": "10.0.0.5, fd00::/8"}, ["10.0.0.5/32", "fd00::/8"]),
        ({"STILLHOUSE_BEHIND_PROXY": "on", "STILLHOUSE_TRUSTED_PROXIES": "10.0.0.5"}, ["10.0.0.5/32"]),
    ],
)
def test_nobody_is_trusted_unless_named_and_the_older_variable_names_this_machine(environment: dict[str, str], trusted: list[str]) -> None:
    started = python("import webapp.settings as s; print([str(each) for each in s.TRUSTED_PROXIES])", **environment)

    assert started.stdout.strip() == str(trusted), started.stderr


@pytest.mark.parametrize("text", ["", " ", "1.2.3", "01.2.3.4", "::ffff", "1.2.3.4, 5.6.7.8", "[1.2.3.4", "a" * 10_000, "1" * 10_000])
def test_no_text_is_an_error(text: str) -> None:
    found = address_of(text)

    assert found is None or str(found) == text


def test_a_sender_of_headers_that_do_not_count_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None: ...

    door = async_to_sync(ClientAddress(application, PROXIES))

    for _ in range(3):
        door({"type": "http", "client": ("172.18.0.1", 1), "scheme": "http", "headers": [(b"x-forwarded-for", b"203.0.113.7")]}, None, None)  # type: ignore[typeddict-item,arg-type]

    assert [record.getMessage() for record in caplog.records] == [
        "X-Forwarded-… from 172.18.0.1 is ignored: STILLHOUSE_TRUSTED_PROXIES does not list it. If it is your proxy, all its clients count as one."
    ]
