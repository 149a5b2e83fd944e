"""Passwords are hashed a few at a time, and a crowd is asked to come again."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from argon2 import PasswordHasher
from django.contrib.auth.hashers import check_password, get_hashers, make_password
from django.test import Client

from tests.waiting import wait_for
from tests.webapp.pages import text_of
from webapp.accounts import hashing
from webapp.accounts.hashing import BUSY, MEGABYTES_EACH, TURNS, HashingTurns, hashes_at_once
from webapp.accounts.models import User
from webapp.gate.refusal import NotNow

PASSWORD = "a long enough password"
PBKDF2 = "pbkdf2_sha256$1000$salt$YywoEuRtRgQQK6dhjp1tfS+BKPYma0oDJk0qBGC33LM="


class Crowd:
    """Threads that each ask for a turn and keep it until they are let go."""

    def __init__(self, turns: HashingTurns) -> None:
        self.turns, self.go = turns, threading.Event()
        self.inside: list[int] = []
        self.refused: list[NotNow] = []
        self.threads: list[threading.Thread] = []

    def come(self) -> None:
        thread = threading.Thread(target=self._ask)
        self.threads.append(thread)
        thread.start()

    def _ask(self) -> None:
        try:
            with self.turns.one():
                self.inside.append(1)
                self.go.wait(60)
        except NotNow as refused:
            self.refused.append(refused)

    def leave(self) -> None:
        self.go.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def taken() -> Iterator[None]:
    """Every turn of this process is taken, and so is every place to wait."""
    with ExitStack() as stack:
        for _ in range(TURNS._free):
            stack.enter_context(TURNS.one())
        places, TURNS._places = TURNS._places, 0
        yield
        TURNS._places = places


def test_so_many_at_once_so_many_wait_and_the_next_is_turned_away() -> None:
    crowd = Crowd(HashingTurns(at_once=2, waiting=3))

    for _ in range(5):
        crowd.come()
    wait_for(lambda: len(crowd.inside) == 2 and crowd.turns._places == 0, what="two inside and three waiting")
    with pytest.raises(NotNow, match=BUSY) as refused, crowd.turns.one():
        pass
    crowd.leave()

    assert (refused.value.status, refused.value.seconds) == (503, 3)
    assert (len(crowd.inside), crowd.refused) == (5, [])


def test_a_place_is_free_again_whatever_happened_in_it() -> None:
    turns = HashingTurns(at_once=1, waiting=0)

    for _ in range(3):
        with pytest.raises(KeyError), turns.one():
            raise KeyError

    with turns.one(), pytest.raises(NotNow), turns.one():
        pass


def test_who_waits_too_long_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "LONGEST_WAIT", 0.01)
    turns = HashingTurns(at_once=1, waiting=1)

    with turns.one(), pytest.raises(NotNow), turns.one():
        pass

    assert (turns._free, turns._places) == (1, 1)


def test_a_hash_takes_the_memory_that_is_counted_for_it_and_one_core() -> None:
    assert f"m={1024 * MEGABYTES_EACH}," in (argon2 := make_password(PASSWORD))
    assert argon2.split("$")[3].endswith(",p=1")


@pytest.mark.parametrize(
    ("megabytes", "cores", "at_once"), [(0, 64, 1), (99, 64, 1), (200, 64, 2), (1000, 64, 10), (1000, 8, 4), (200, 2, 1), (200, 1, 1)]
)
def test_memory_and_half_of_the_cores_bound_the_hashes(megabytes: int, cores: int, at_once: int) -> None:
    assert hashes_at_once(megabytes, cores) == at_once


@pytest.mark.parametrize("encoded", [make_password("x"), PBKDF2])
@pytest.mark.usefixtures("taken")
def test_no_hash_is_made_or_checked_out_of_turn(encoded: str) -> None:
    with pytest.raises(NotNow):
        check_password(PASSWORD, encoded)
    with pytest.raises(NotNow):
        make_password(PASSWORD)


def test_hashes_from_before_still_open_and_every_hasher_waits_its_turn() -> None:
    assert check_password("password", PBKDF2) and not check_password("other", PBKDF2)
    assert check_password(PASSWORD, make_password(PASSWORD))
    assert {type(each).__module__ for each in get_hashers()} == {"webapp.accounts.hashing"}


pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.mark.parametrize("name", ["nora", "nobody", "retired", "without"])
@pytest.mark.parametrize("address", ["/sign-in/"])
def test_a_name_shows_by_nothing_whether_it_exists(name: str, address: str, request: pytest.FixtureRequest) -> None:
    """One hash for each, known or not, and so the same refusal when there is no turn for it."""
    User.objects.create_user("nora", password=PASSWORD)
    User.objects.create_user("retired", password=PASSWORD, is_active=False)
    User.objects.create_user("without")
    request.getfixturevalue("taken")

    answer = Client().post(address, {"username": name, "password": PASSWORD})

    assert (answer.status_code, answer["Retry-After"]) == (503, "3")
    assert BUSY in text_of(answer)
    assert "Not right now" in text_of(answer)


@pytest.mark.usefixtures("taken")
def test_the_rest_of_the_site_goes_on_while_nobody_can_sign_in(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)

    assert client.get("/p/distillery/").status_code == 200
    assert client.get("/sign-in/").status_code == 302


def test_who_was_turned_away_is_not_counted_as_having_failed(request: pytest.FixtureRequest) -> None:
    nora, client = User.objects.create_user("nora", password=PASSWORD), Client()
    with ExitStack() as stack:
        for _ in range(TURNS._free):
            stack.enter_context(TURNS.one())
        places, TURNS._places = TURNS._places, 0
        statuses = {client.post("/sign-in/", {"username": "nora", "password": "wrong"}).status_code for _ in range(6)}
        TURNS._places = places

    answer: Any = client.post("/sign-in/", {"username": "nora", "password": PASSWORD})

    assert (statuses, answer.status_code) == ({503}, 302)
    assert client.session["_auth_user_id"] == str(nora.pk)


def test_a_hash_that_was_made_on_eight_cores_opens_and_is_made_anew_on_one() -> None:
    user = User.objects.create_user("nora")
    user.password = "argon2" + PasswordHasher(time_cost=2, memory_cost=102400, parallelism=8).hash(PASSWORD)
    user.save()

    answer = Client().post("/sign-in/", {"username": "nora", "password": PASSWORD})
    user.refresh_from_db()

    assert answer.status_code == 302
    assert ",p=1$" in user.password and user.check_password(PASSWORD)
