"""Where the web server may listen: asked before anything is started."""

import re
import socket
from collections.abc import Iterator

import pytest

from webapp.serve.address import free_port, is_loopback, port_to_listen_on, refuse_strangers, url
from webapp.serve.lives import ServeError


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STILLHOUSE_DEBUG", "STILLHOUSE_SECRET_KEY", "STILLHOUSE_HOSTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.5.5.5", "::1", "localhost")],
        *[(host, False) for host in ("0.0.0.0", "::", "10.0.0.7", "stillhouse.example.org", "localhost.example.org", "")],
    ],
)
def test_an_address_that_only_this_machine_reaches_is_known(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_no_configuration(host: str) -> None:
    refuse_strangers(host)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {},
            "so set STILLHOUSE_SECRET_KEY to a long random text of your own and STILLHOUSE_HOSTS to the host names that people type; or leave --host out.",
        ),
        ({"STILLHOUSE_HOSTS": "a.example"}, "so set STILLHOUSE_SECRET_KEY to a long random text of your own; or leave --host out."),
        ({"STILLHOUSE_SECRET_KEY": "k" * 50}, "so set STILLHOUSE_HOSTS to the host names that people type; or leave --host out."),
        (
            {"STILLHOUSE_SECRET_KEY": "k" * 50, "STILLHOUSE_HOSTS": "a.example", "STILLHOUSE_DEBUG": " ON "},
            "so STILLHOUSE_DEBUG must not be on; unset it.",
        ),
    ],
)
def test_others_are_let_in_only_with_a_production_configuration(
    given: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ServeError) as refused:
        refuse_strangers("0.0.0.0")

    assert str(refused.value) == f"--host 0.0.0.0: other machines could reach it, {sentence}"


@pytest.mark.parametrize("debug", [None, "off"])
def test_with_a_production_configuration_others_are_let_in(debug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_SECRET_KEY", "k" * 50)
    monkeypatch.setenv("STILLHOUSE_HOSTS", "a.example")
    if debug is not None:
        monkeypatch.setenv("STILLHOUSE_DEBUG", debug)

    refuse_strangers("0.0.0.0")


def test_a_taken_port_is_named(taken: int) -> None:
    with pytest.raises(ServeError) as refused:
        port_to_listen_on("127.0.0.1", taken)

    assert (
        str(refused.value)
        == f"--port {taken}: can't listen on 127.0.0.1 there (Address already in use); give another port, or leave it out."
    )


def test_a_port_that_is_free_is_taken_as_asked_and_without_one_the_next_free_one(taken: int) -> None:
    found = free_port("127.0.0.1", taken)

    assert taken < found < taken + 100
    assert port_to_listen_on("127.0.0.1", found) == found
    assert port_to_listen_on("127.0.0.1", None) >= 8000


def test_an_address_that_this_machine_lacks_is_named() -> None:
    with pytest.raises(ServeError, match=r"^--host no\.such\.invalid: this machine knows no such address\.$"):
        port_to_listen_on("no.such.invalid", 18000)
    with pytest.raises(ServeError, match=re.escape("can't listen on 203.0.113.5 there (Cannot assign requested address)")):
        port_to_listen_on("203.0.113.5", 18000)


@pytest.mark.parametrize(
    ("host", "address", "for_people"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "http://localhost:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000", "http://localhost:8000"),
        ("::", "http://[::1]:8000", "http://[::1]:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000", "http://10.0.0.7:8000"),
    ],
)
def test_the_web_server_is_asked_where_it_listens(host: str, address: str, for_people: str) -> None:
    assert (url(host, 8000), url(host, 8000, shown=True)) == (address, for_people)
