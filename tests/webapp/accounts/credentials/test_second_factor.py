"""The second factor: set up, asked for, guessed at, lost."""

import re
import time
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from tests.webapp.conftest import token_of, with_token
from tests.webapp.pages import as_, text_of
from webapp.accounts.credentials import second_factor
from webapp.accounts.credentials.second_factor import CodeRefused
from webapp.accounts.models import AuditEntry, Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PASSWORD = "a long enough password"


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_user("nora", password=PASSWORD)


def first_step(name: str = "nora", **more: str) -> tuple[Client, Any]:
    client = Client()
    return client, client.post(reverse("sign-in"), {"username": name, "password": PASSWORD, **more})


def code_now(user: User, *, ahead: int = 0) -> str:
    """What the person's app shows now, or so many half minutes from now."""
    device = TOTPDevice.objects.get(user=user)
    return f"{totp(device.bin_key, drift=ahead):06d}"


def turn_on(user: User) -> tuple[Client, list[str]]:
    """A browser in which the person has turned it on, and the recovery codes."""
    client, _ = first_step(user.get_username())
    client.get(reverse("factor-on"))
    page = client.post(reverse("factor-on"), {"code": code_now(user)})
    TOTPDevice.objects.update(last_t=-1)  # half a minute later
    return client, re.findall(r"<li>([a-z2-9]{5}-[a-z2-9]{5})", text_of(page))


def second_step(client: Client, code: str) -> Any:
    return client.post(reverse("sign-in-code"), {"code": code})


def is_signed_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


class TestSettingUp:
    def test_the_page_shows_the_secret_as_a_picture_and_as_text_until_a_code_is_right(self, person: User) -> None:
        client, _ = first_step()

        page, again = (text_of(client.get(reverse("factor-on"))) for _ in range(2))
        wrong = client.post(reverse("factor-on"), {"code": "abc"})

        (secret,) = re.findall(r'id="secret">([A-Z2-7 ]+)<', page)
        assert f'id="secret">{secret}<' in again and 'src="data:image/svg+xml' in page
        assert wrong.status_code == 400 and "This is not the code that the app shows now" in text_of(wrong)
        assert not second_factor.is_on(person)

    def test_a_right_code_turns_it_on_and_shows_ten_recovery_codes_this_once(self, person: User) -> None:
        client, codes = turn_on(person)

        page = text_of(client.get(reverse("account")))

        assert len(set(codes)) == 10 and "On. 10 recovery codes left." in page
        assert not any(code in page for code in codes)
        assert is_signed_in(client)

    def test_other_sessions_end_for_they_have_not_shown_it(self, person: User) -> None:
        elsewhere, _ = first_step()

        turn_on(person)

        assert not is_signed_in(elsewhere)

    def test_one_that_is_on_is_not_replaced_by_who_finds_the_browser_open(self, person: User) -> None:
        client, _ = turn_on(person)
        secret = TOTPDevice.objects.get().key

        page = client.get(reverse("factor-on"), follow=True)

        assert "turn it off to set up another app" in text_of(page)
        assert TOTPDevice.objects.get().key == secret

    def test_recovery_codes_are_kept_as_keyed_hashes(self, person: User) -> None:
        _, codes = turn_on(person)

        kept = set(StaticToken.objects.values_list("token", flat=True))

        assert len(kept) == 10 and not kept & {code.replace("-", "") for code in codes} and all(len(one) == 16 for one in kept)


class TestSigningIn:
    def test_the_password_alone_leads_to_the_second_step_and_no_further(self, person: User) -> None:
        turn_on(person)

        client, answer = first_step(next="/p/x/launch/")

        assert answer["Location"] == reverse("sign-in-code")
        assert not is_signed_in(client) and "_auth_user_id" not in client.session
        assert "six digits" in text_of(client.get(reverse("sign-in-code")))

    def test_the_code_signs_in_and_leads_to_where_one_wanted_to_go(self, person: User) -> None:
        turn_on(person)
        client, _ = first_step(next="/p/x/launch/")

        answer = second_step(client, code_now(person))

        assert answer["Location"] == "/p/x/launch/" and is_signed_in(client)
        assert AuditEntry.objects.filter(verb="signed in").latest("pk").detail == {"by": "password", "second_factor": "app"}

    def test_a_code_is_good_once(self, person: User) -> None:
        turn_on(person)
        code = code_now(person)
        (one, _), (other, _) = first_step(), first_step()

        second_step(one, code)
        answer = second_step(other, code)

        assert answer.status_code == 400 and not is_signed_in(other)
        assert "This code is wrong, or was used already." in text_of(answer)

    def test_a_recovery_code_signs_in_once_however_it_is_typed(self, person: User) -> None:
        _, (code, *_) = turn_on(person)
        (one, _), (other, _) = first_step(), first_step()

        first = second_step(one, f" {code.replace('-', ' ').upper()} ")
        again = second_step(other, code)

        assert (first.status_code, again.status_code) == (302, 400)
        assert second_factor.recovery_codes_left(person) == 9

    def test_recovery_codes_outlive_a_new_secret_of_the_site(self, person: User, settings: Any) -> None:
        _, (code, *_) = turn_on(person)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [settings.SECRET_KEY]
        client, _ = first_step()

        assert second_step(client, code).status_code == 302

    def test_after_a_wrong_code_even_the_right_one_has_to_wait(self, person: User) -> None:
        turn_on(person)
        client, _ = first_step()

        second_step(client, "000000")
        answer = second_step(client, code_now(person))

        assert answer.status_code == 400 and "There were too many wrong codes; wait a little and try again." in text_of(answer)
        assert TOTPDevice.objects.get().throttling_failure_count == 1
        assert AuditEntry.objects.filter(verb="failed second factor", user=person).count() == 2

    def test_wrong_recovery_codes_do_not_lock_the_app_out(self, person: User) -> None:
        turn_on(person)
        client, _ = first_step()

        second_step(client, "aaaaa-bbbbb")

        assert second_step(client, code_now(person)).status_code == 302

    def test_the_second_step_is_for_who_has_made_the_first_a_moment_ago(self, person: User) -> None:
        turn_on(person)
        nobody = second_step(Client(), code_now(person))
        late, _ = first_step()
        session = late.session
        session["waits_for_second_factor"] |= {"at": time.time() - 301}
        session.save()

        answer = second_step(late, code_now(person))

        assert (nobody["Location"], answer["Location"]) == (reverse("sign-in"), reverse("sign-in"))

    def test_a_password_that_changes_between_the_steps_ends_the_first(self, person: User) -> None:
        turn_on(person)
        client, _ = first_step()
        person.set_password("another long password")
        person.save()

        assert second_step(client, code_now(person))["Location"] == reverse("sign-in")

    @pytest.mark.parametrize("code", ["", "1", "١٢٣٤٥٦", "12345678901234567890123", "a\x00b", "-1"])
    def test_what_is_no_code_is_refused(self, code: str, person: User) -> None:
        turn_on(person)

        with pytest.raises(CodeRefused, match=r"^This code is wrong, or was used already\.$"):
            second_factor.check(person, code)

    def test_api_tokens_need_no_code(self, owner: User, project: Project) -> None:
        owner.set_password(PASSWORD)
        owner.save()
        text = token_of(owner, project)

        turn_on(owner)

        assert with_token(text).get("/api/v1/me/").status_code == 200


class TestAdministration:
    def test_its_own_door_leads_to_the_sites(self, client: Client, db: None) -> None:
        answer = client.get("/admin/login/?next=/admin/accounts/")

        assert answer["Location"] == "/sign-in/?next=%2Fadmin%2Faccounts%2F"

    def test_it_needs_the_second_factor_of_who_has_one(self, person: User) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        before = as_(person).get("/admin/").status_code
        client, _ = turn_on(person)

        after = {"shown": client.get("/admin/").status_code, "not shown": as_(person).get("/admin/").status_code}

        assert before == 200 and after == {"shown": 200, "not shown": 302}

    def test_it_shows_nobodys_secret(self, person: User) -> None:
        User.objects.update(is_staff=True, is_superuser=True)
        client, _ = turn_on(person)

        codes = [client.get(f"/admin/{path}/").status_code for path in ("otp_totp/totpdevice", "otp_static/staticdevice")]

        assert codes == [404, 404] and TOTPDevice.objects.get().key not in text_of(client.get(f"/admin/accounts/user/{person.pk}/change/"))

    def test_its_own_page_for_passwords_leads_to_the_sites(self, person: User) -> None:
        User.objects.update(is_staff=True)

        assert as_(person).get("/admin/password_change/")["Location"] == reverse("password")


class TestTurningOff:
    def test_it_takes_the_password(self, person: User) -> None:
        client, _ = turn_on(person)

        wrong = client.post(reverse("factor-off"), {"password": "wrong"}, follow=True)
        is_still_on = second_factor.is_on(person)
        right = client.post(reverse("factor-off"), {"password": PASSWORD}, follow=True)

        assert is_still_on and "This is not your password; nothing was changed." in text_of(wrong)
        assert not second_factor.is_on(person) and "The second factor is off." in text_of(right)
        assert not StaticToken.objects.exists() and is_signed_in(first_step()[0])

    def test_new_recovery_codes_take_it_too_and_replace_the_old(self, person: User) -> None:
        client, (old, *_) = turn_on(person)

        client.post(reverse("factor-codes"), {"password": "wrong"})
        page = client.post(reverse("factor-codes"), {"password": PASSWORD})

        new = re.findall(r"<li>([a-z2-9]{5}-[a-z2-9]{5})", text_of(page))
        assert len(new) == 10 and old not in new
        with pytest.raises(CodeRefused):
            second_factor.check(person, old)

    def test_who_has_no_password_shows_a_code(self, person: User) -> None:
        client, _ = turn_on(person)
        User.objects.filter(pk=person.pk).update(password="!")
        client.force_login(User.objects.get())

        client.post(reverse("factor-off"), {"password": "000000"})
        is_still_on = second_factor.is_on(person)
        TOTPDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=None)
        client.post(reverse("factor-off"), {"password": code_now(person)})

        assert is_still_on and not second_factor.is_on(person)

    def test_an_operators_command_helps_who_lost_the_phone(self, person: User) -> None:
        client, _ = turn_on(person)
        printed = StringIO()

        call_command("remove_second_factor", "nora", stdout=printed)

        assert printed.getvalue() == "nora signs in with the password alone from now on; 1 sessions ended.\n"
        assert not is_signed_in(client) and is_signed_in(first_step()[0])
        assert AuditEntry.objects.get(who="operator's command").verb == "turned second factor off"
        with pytest.raises(CommandError, match=r"^nora has no second factor\.$"):
            call_command("remove_second_factor", "nora")
        with pytest.raises(CommandError, match=r"^There is no user with the name 'nobody'\.$"):
            call_command("remove_second_factor", "nobody")


def test_nothing_but_the_steps_signs_anybody_in() -> None:
    from pathlib import Path

    root = Path(__file__).resolve().parents[4]

    found = [path.name for path in (root / "webapp").rglob("*.py") if re.search(r"(?<![\w.])login\(|auth\.login\b", path.read_text())]

    assert found == ["admin_site.py", "sign_in.py"]  # the administration's own only leads on


def test_a_session_of_somebody_else_in_the_same_browser_is_left_behind(person: User, viewer: User) -> None:
    client = as_(viewer)

    client.post(reverse("sign-out"))
    client.post(reverse("sign-in"), {"username": "nora", "password": PASSWORD})

    assert get_user(client).username == "nora"  # type: ignore[arg-type]
