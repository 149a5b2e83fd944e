"""Sign-ins that keep failing, by name, by address, and by both; and that a stranger can't keep a member out."""

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessLog
from django.test import Client
from django.utils import timezone

from tests.webapp.pages import text_of
from webapp.accounts.lockout import SENTENCE
from webapp.accounts.models import User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

HOME, ELSEWHERE = "198.51.100.1", "198.51.100.2"
RIGHT = "a long enough password"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def nora(db: None) -> User:
    return User.objects.create_user("nora", password=RIGHT)


def sign_in(name: str, password: str, address: str, page: str = "/sign-in/", **headers: str) -> int:
    return Client(REMOTE_ADDR=address).post(page, {"username": name, "password": password}, headers=headers).status_code


def failures(name: str, address: str, count: int, *, agent: str = "browser") -> None:
    """What so many wrong passwords leave behind."""
    AccessAttempt.objects.create(
        username=name, ip_address=address, user_agent=agent, failures_since_start=count, attempt_time=timezone.now()
    )


def has_signed_in(name: str, address: str, *, days_ago: int = 1) -> None:
    log = AccessLog.objects.create(username=name, ip_address=address)
    AccessLog.objects.filter(pk=log.pk).update(attempt_time=timezone.now() - timedelta(days=days_ago))


@pytest.mark.parametrize("page", ["/sign-in/"])
def test_five_failures_lock_a_name_out_at_their_address_and_nowhere_else(nora: User, page: str) -> None:
    codes = [sign_in("nora", f"wrong {number}", HOME, page) for number in range(5)]

    assert codes == [200, 200, 200, 200, 429]
    assert sign_in("nora", RIGHT, HOME, page) == 429
    assert sign_in("nora", RIGHT, ELSEWHERE) == 302


@pytest.mark.parametrize(("before", "status"), [(29, 302), (30, 429)])
def test_thirty_failures_under_any_names_lock_an_address_out(nora: User, before: int, status: int) -> None:
    for number in range(before):
        failures(f"guess {number}", HOME, 1)

    assert sign_in("nora", RIGHT, HOME) == status
    assert sign_in("nora", RIGHT, ELSEWHERE) == 302


@pytest.mark.parametrize(("before", "status"), [(49, 302), (50, 429)])
def test_fifty_failures_from_any_addresses_lock_a_name_out(nora: User, before: int, status: int) -> None:
    for number in range(before):
        failures("nora", f"203.0.113.{number}", 1)

    assert sign_in("nora", RIGHT, HOME) == status


def test_other_browsers_and_a_made_up_header_count_with_the_rest(nora: User) -> None:
    codes = [
        sign_in("nora", "wrong", HOME, **{"User-Agent": f"agent {number}", "X-Forwarded-For": f"203.0.113.{number}"}) for number in range(5)
    ]

    assert codes[-1] == 429


def test_a_member_where_they_usually_are_is_not_locked_out_by_strangers(nora: User) -> None:
    has_signed_in("nora", HOME)
    failures("nora", ELSEWHERE, 500)
    for number in range(40):
        failures(f"guess {number}", HOME, 1)  # somebody behind the same address too

    assert sign_in("nora", RIGHT, HOME) == 302
    assert sign_in("nora", RIGHT, "198.51.100.3") == 429


def test_where_somebody_usually_is_only_a_few_guesses_are_taken_too(nora: User) -> None:
    has_signed_in("nora", HOME)

    codes = [sign_in("nora", f"wrong {number}", HOME) for number in range(5)]

    assert codes[-1] == 429


@pytest.mark.parametrize(("days_ago", "status"), [(29, 302), (31, 429)])
def test_a_place_is_known_for_a_month(nora: User, days_ago: int, status: int) -> None:
    has_signed_in("nora", HOME, days_ago=days_ago)
    failures("nora", ELSEWHERE, 50)

    assert sign_in("nora", RIGHT, HOME) == status


def test_a_lock_ends_by_itself_and_asking_does_not_prolong_it(nora: User) -> None:
    failures("nora", HOME, 5)
    locked = [sign_in("nora", RIGHT, HOME) for _ in range(3)]
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))

    assert locked == [429] * 3
    assert AccessAttempt.objects.get().failures_since_start == 5
    assert sign_in("nora", RIGHT, HOME) == 302


def test_an_account_of_ones_own_does_not_clear_ones_guesses_at_others(nora: User) -> None:
    User.objects.create_user("mallory", password=RIGHT)
    for number in range(29):
        failures(f"guess {number}", HOME, 1)
    failures("nora", ELSEWHERE, 20)

    assert sign_in("mallory", RIGHT, HOME) == 302
    assert AccessAttempt.objects.count() == 30
    sign_in("nora", "wrong", HOME)
    assert sign_in("carol", RIGHT, HOME) == 429


def test_a_success_forgets_ones_own_failures(nora: User) -> None:
    failures("nora", HOME, 4)

    assert sign_in("nora", RIGHT, HOME) == 302
    assert [sign_in("nora", "wrong", HOME) for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("name", ["nora", "nobody"])
def test_the_refusal_says_when_to_come_again_and_not_whether_the_name_exists(nora: User, name: str) -> None:
    failures(name, HOME, 5)

    answer = Client(REMOTE_ADDR=HOME).post("/sign-in/", {"username": name, "password": RIGHT})

    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert SENTENCE in text_of(answer) and "no-store" in answer["Cache-Control"]


def test_nobodys_address_is_no_error(nora: User) -> None:
    assert [sign_in("nora", "wrong", "") for _ in range(2)] == [200, 200]
