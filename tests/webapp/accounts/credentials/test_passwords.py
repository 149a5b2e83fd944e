"""Passwords: changed by their owner, and made anew by a link, from a real mail server or from an operator's command."""

import email
import re
import socket
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from io import StringIO
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from tests.waiting import wait_for
from tests.webapp.conftest import token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts.credentials import passwords
from webapp.accounts.models import AuditEntry, Project, SignedInSession, User
from webapp.outside import mail

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

OLD, NEW = "a long enough password", "another long password"


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("nora", "Nora@example.org", OLD)


def sign_in(password: str, name: str = "nora") -> Client:
    client = Client()
    client.post(reverse("sign-in"), {"username": name, "password": password})
    return client


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def change(client: Client, old: str = OLD, new: str = NEW, **more: str) -> Any:
    return client.post(reverse("password"), {"old_password": old, "new_password1": new, "new_password2": new, **more})


def set_new(client: Client, link: str, password: str = NEW) -> Any:
    """Opens a link, and sends the form that it leads to."""
    shown = client.get(link, follow=True)
    form = shown.redirect_chain[-1][0] if shown.redirect_chain else link
    return client.post(form, {"new_password1": password, "new_password2": password}, follow=True)


class TestChange:
    def test_a_new_password_ends_all_other_sessions_and_not_this_one(self, person: User) -> None:
        here, elsewhere = sign_in(OLD), sign_in(OLD)

        change(here)
        page = text_of(here.get(reverse("account")))

        assert "Other sessions that have ended: 1. Tokens revoked: 0." in page
        assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)
        assert (is_signed_in(sign_in(OLD)), is_signed_in(sign_in(NEW))) == (False, True)

    def test_the_page_says_what_becomes_of_tokens_and_keeps_them(self, owner: User, project: Project) -> None:
        owner.set_password(OLD)
        owner.save()
        text, client = token_of(owner, project), sign_in(OLD, "olga")

        page = text_of(client.get(reverse("password")))
        change(client)

        assert "API tokens go on, unless you revoke them here" in page
        assert with_token(text).get("/api/v1/me/").status_code == 200

    def test_tokens_are_revoked_where_that_is_asked_for(self, owner: User, project: Project) -> None:
        owner.set_password(OLD)
        owner.save()
        text = token_of(owner, project)

        change(sign_in(OLD, "olga"), revoke_tokens="on")

        assert with_token(text).get("/api/v1/me/").status_code == 401
        assert AuditEntry.objects.filter(verb="revoked token", target=text[:10]).exists()

    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ("wrong", NEW, "Your old password was entered incorrectly. Please enter it again."),
            (OLD, "short", "This password is too short. It must contain at least 10 characters."),
            (OLD, "1234567890123", "This password is entirely numeric."),
        ],
    )
    def test_what_is_not_right_is_refused_beside_the_field(self, old: str, new: str, sentence: str, person: User) -> None:
        answer = change(sign_in(OLD), old, new)

        assert answer.status_code == 400 and sentence in text_of(answer)
        assert User.objects.get().check_password(OLD)

    def test_guessing_the_present_password_is_locked_as_signing_in_is(self, person: User) -> None:
        client = sign_in(OLD)

        codes = [change(client, f"wrong-{number}").status_code for number in range(5)]

        assert codes == [400, 400, 400, 400, 429]
        assert change(client).status_code == 429 and User.objects.get().check_password(OLD)

    def test_an_account_without_a_password_is_told_how_it_gets_one(self, viewer: User) -> None:
        viewer.set_unusable_password()
        viewer.save()

        page = as_(viewer).get(reverse("password"), follow=True)

        assert "Your account has no password; an administrator can make a link with which you set one." in text_of(page)

    def test_it_is_written_down(self, person: User) -> None:
        change(sign_in(OLD))

        entry = AuditEntry.objects.filter(verb="changed password").get()
        assert (entry.user, entry.who, entry.detail, entry.address) == (person, "nora", {"by": "self"}, "127.0.0.1")


class Inbox:
    """What a real mail server has taken."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 taken"


@pytest.fixture
def inbox(settings: Any) -> Iterator[Inbox]:
    """A mail server that the site sends to."""
    inbox = Inbox()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    told = mail(f"smtp+plain://127.0.0.1:{port}")
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = told.host, told.port
    settings.EMAIL_USE_TLS, settings.EMAIL_USE_SSL = told.starts_tls, told.over_tls
    yield inbox
    server.stop()


def without_token(page: str) -> str:
    """A page without the token against forged requests, which is another one each time."""
    return re.sub(r'"x-csrftoken": "\w+"|name="csrfmiddlewaretoken" value="\w+"', "", page)


def ask(address: str) -> Any:
    return Client().post(reverse("password-forgotten"), {"email": address}, follow=True)


@pytest.mark.django_db(transaction=True)
class TestForgotten:
    def test_a_link_comes_by_mail_and_is_good_once(self, person: User, inbox: Inbox) -> None:
        elsewhere = sign_in(OLD)
        ask("nora@example.org")
        wait_for(lambda: inbox.mails, what="the mail")
        (message,) = inbox.mails
        (link,) = re.findall(r"http://testserver(/password/\S+)", message.get_content())

        page = set_new(Client(), link)
        sessions_left = SignedInSession.objects.count()
        again = Client().get(link, follow=True)

        assert (message["To"], message["Subject"]) == ("Nora@example.org", "A new password for Stillhouse")
        assert "Your password is changed and all sessions have ended." in text_of(page)
        assert (sessions_left, is_signed_in(elsewhere), is_signed_in(sign_in(NEW))) == (0, False, True)
        assert "This link was used already, or is too old." in text_of(again)
        assert [entry.verb for entry in AuditEntry.objects.filter(detail__by="link")] == ["changed password"]

    def test_nothing_tells_whether_there_is_an_account(self, person: User, inbox: Inbox) -> None:
        known, unknown = (without_token(text_of(ask(address))) for address in ("nora@example.org", "nobody@example.org"))

        wait_for(lambda: inbox.mails, what="the mail")
        assert known == unknown and "If an account has this address, a link is on its way" in known
        assert len(inbox.mails) == 1

    def test_one_address_gets_one_mail_in_a_while_whoever_asks(self, person: User, inbox: Inbox) -> None:
        for address in ("nora@example.org", "NORA@example.org", "nora@example.org"):
            ask(address)
        User.objects.create_user("last", "last@example.org", OLD)
        ask("last@example.org")

        wait_for(
            lambda: [one["To"] for one in inbox.mails][-1:] == ["last@example.org"], what="the last mail"
        )  # one thread sends them in turn

        assert [one["To"] for one in inbox.mails] == ["Nora@example.org", "last@example.org"]

    def test_who_may_not_sign_in_gets_none(self, person: User, inbox: Inbox) -> None:
        User.objects.update(is_active=False)
        ask("nora@example.org")
        User.objects.create_user("last", "last@example.org", OLD)
        ask("last@example.org")

        wait_for(lambda: inbox.mails, what="the last mail")

        assert [one["To"] for one in inbox.mails] == ["last@example.org"]

    def test_a_mail_server_that_is_away_changes_no_answer(self, person: User, inbox: Inbox, settings: Any, caplog: Any) -> None:
        settings.EMAIL_PORT = 1

        page = text_of(ask("nora@example.org"))

        assert "a link is on its way" in page
        wait_for(lambda: "Failed to send password reset email" in caplog.text, what="the log's line")


def test_where_no_mail_is_sent_the_page_says_whom_to_ask(person: User) -> None:
    shown = text_of(Client().get(reverse("password-forgotten")))
    answer = text_of(ask("nora@example.org"))

    assert "This site sends no mail." in shown and "This site sends no mail." in answer
    assert not AuditEntry.objects.exists()


class TestCommand:
    def test_it_prints_a_link_that_is_good_once(self, person: User) -> None:
        printed = StringIO()
        call_command("reset_password", "nora", site="https://stillhouse.example.org/", stdout=printed)

        site, link = re.fullmatch(r"(https://[^/]+)(/password/\S+/)", printed.getvalue().strip()).groups()  # type: ignore[union-attr]
        page = set_new(Client(), link)

        assert site == "https://stillhouse.example.org" and "Your password is changed" in text_of(page)
        assert is_signed_in(sign_in(NEW))
        assert AuditEntry.objects.get(verb="made a link for a new password").who == "operator's command"

    def test_it_sets_what_the_input_holds_and_ends_all_sessions(self, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
        client, printed = sign_in(OLD), StringIO()
        monkeypatch.setattr("sys.stdin", StringIO(f"{NEW}\nnot this\n"))

        call_command("reset_password", "nora", stdin=True, stdout=printed)

        assert printed.getvalue() == "nora has a new password; 1 sessions ended. API tokens go on.\n"
        assert not SignedInSession.objects.exists() and not is_signed_in(client)
        assert is_signed_in(sign_in(NEW))

    def test_a_weak_password_and_an_unknown_name_are_refused(self, person: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", StringIO("short\n"))

        with pytest.raises(CommandError, match=r"^This password is too short\. It must contain at least 10 characters\.$"):
            call_command("reset_password", "nora", stdin=True)
        with pytest.raises(CommandError, match=r"^There is no user with the name 'nobody' who may sign in\.$"):
            call_command("reset_password", "nobody")

        assert User.objects.get().check_password(OLD)


def test_a_link_dies_with_the_password_that_it_replaces(person: User) -> None:
    link = passwords.link_for(person, "http://testserver").removeprefix("http://testserver")
    change(sign_in(OLD))

    assert "This link was used already, or is too old." in text_of(Client().get(link, follow=True))


def test_a_link_can_be_used_where_one_is_signed_in(person: User) -> None:
    client = sign_in(OLD)
    person.refresh_from_db()  # a link dies with the next sign-in as well

    page = set_new(client, passwords.link_for(person, "http://testserver").removeprefix("http://testserver"))

    assert "Your password is changed and all sessions have ended." in text_of(page)
    assert not is_signed_in(client) and is_signed_in(sign_in(NEW))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("smtp://me:a%40b@mail.example.org", ("mail.example.org", 587, "me", "a@b", False, True)),
        ("smtps://mail.example.org:4650", ("mail.example.org", 4650, "", "", True, False)),
        ("smtp+plain://localhost", ("localhost", 25, "", "", False, False)),
    ],
)
def test_the_address_of_a_mail_server_says_how_it_is_spoken_to(url: str, said: tuple[object, ...]) -> None:
    server = mail(url)

    assert (server.host, server.port, server.user, server.password, server.over_tls, server.starts_tls) == said


@pytest.mark.parametrize(
    "url", ["mail.example.org", "http://mail", "smtp+plain://me:hunter2@mail.example.org", "smtp://me:hunter2@mail:port"]
)
def test_one_that_makes_no_sense_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^STILLHOUSE_EMAIL_URL must be ") as refused:
        mail(url)

    assert "hunter2" not in str(refused.value)
