"""Addresses of servers that the environment names: refused where they can't be taken apart, and never shown with a password."""

import pytest

from webapp import servers
from webapp.servers.urls import checked, shown

REFUSED = {
    "DATABASE_URL": "DATABASE_URL must look like postgresql://user:password@host:port/name; ",
    "REDIS_URL": "REDIS_URL must look like redis://user:password@host:port/number; ",
}
HOW = "in user and password, write each of / ? # @ : % [ ] as % and its code, like %2F for /."


@pytest.mark.parametrize(
    "rest", ["u:pa/ss@h/n", "u:pa#ss@h/n", "u:pa?ss@h/n", "u:12/ss@h/n", "u:12?ss@h/n", "u:pass@h:port/n", "u:p[ss@h/n", "u:p\u2100ss@h/n"]
)
@pytest.mark.parametrize(("name", "scheme"), [("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")])
def test_an_address_with_a_password_that_ends_it_early_is_refused_without_a_piece_of_it(
    name: str, scheme: str, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, f"{scheme}://{rest}")

    with pytest.raises(servers.ServersError) as refused:
        servers.addresses()

    assert str(refused.value) == REFUSED[name] + HOW
    assert refused.value.__cause__ is None and refused.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "mysql://h/n"), ("DATABASE_URL", "h/n"), ("REDIS_URL", "http://h/0"), ("REDIS_URL", "postgresql://h/n")],
)
def test_an_address_of_another_kind_of_server_is_refused(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, url)

    with pytest.raises(servers.ServersError, match=REFUSED[name]):
        checked(name)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://u:p%2Fss@h:5432/n?sslmode=require"),
        ("DATABASE_URL", "postgres:///n?host=%2Fsockets"),
        ("DATABASE_URL", "postgresql://u:p@ss@h/n"),
        ("REDIS_URL", "rediss://:p%23@h:1/2"),
        ("REDIS_URL", "unix:///a@b/c.sock?db=0"),
        ("REDIS_URL", ""),
    ],
)
def test_an_address_that_can_be_taken_apart_passes_as_it_is(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, url)

    assert checked(name) == url


@pytest.mark.parametrize(
    ("url", "for_people"),
    [
        ("postgresql://u:secret@h:1/n?a=b", "postgresql://u:***@h:1/n?a=b"),
        ("postgresql://u:se@cret@h:1/n", "postgresql://u:***@h:1/n"),
        ("postgresql://h/n?user=u&password=secret&sslpassword=secret&a=b", "postgresql://h/n?user=u&password=***&sslpassword=***&a=b"),
        ("redis://:secret@h/0", "redis://:***@h/0"),
        ("unix://:secret@/a/b.sock?db=0", "unix://:***@/a/b.sock?db=0"),
        ("postgresql://u@/n?host=%2Fa", "postgresql://u@/n?host=%2Fa"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, for_people: str) -> None:
    assert shown(url) == for_people
