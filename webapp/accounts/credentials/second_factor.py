"""The second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for whoever lost it. Both by django-otp.

The app's secret lies in the database as it is, for the server must compute with it. Of recovery codes only keyed hashes are kept. Each wrong
code doubles the wait until the next may be tried.
"""

import re
import secrets
from urllib.parse import parse_qs, urlsplit

from django.db import transaction
from django.http import HttpRequest
from django_otp import login as note_device
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp.accounts import audit, keyed
from webapp.accounts.credentials import sessions
from webapp.accounts.models import User

RECOVERY_CODES = 10
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that are mistaken for each other."""
KEPT = 16
"""Characters of a recovery code's hash that its column holds."""
APP_CODE = re.compile("[0-9]{6}")
WRONG = "This code is wrong, or was used already."


class CodeRefused(Exception):
    """A code that is wrong, used, or came too soon after a wrong one. The message is a sentence for the person."""


def is_on(user: User) -> bool:
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def is_satisfied(user: User) -> bool:
    """The session has shown the second factor, or the person has none. `user` is a request's, as the middleware leaves it."""
    return user.otp_device is not None or not is_on(user)


def begin(user: User) -> TOTPDevice:
    """The secret that the person's app is to learn; the same until it is confirmed."""
    device, _ = TOTPDevice.objects.get_or_create(user=user, confirmed=False, defaults={"name": "app"})
    return device


def secret_in(address: str) -> str:
    """The secret of an app's address, in groups of four letters, for who can't take a picture of it."""
    (secret,) = parse_qs(urlsplit(address).query)["secret"]
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


@transaction.atomic
def turn_on(user: User, code: str, request: HttpRequest) -> list[str]:
    """Confirms the app by a code, ends all other sessions, and returns the recovery codes, which nobody can show again. Raises CodeRefused."""
    device = TOTPDevice.objects.select_for_update().filter(user=user, confirmed=False).first()
    if device is None or is_on(user):
        raise CodeRefused("The second factor is on already, or was not begun; load the page again.")
    if not device.verify_token(_digits(code)):
        raise CodeRefused("This is not the code that the app shows now; try the next one, and see that the phone's clock is right.")
    device.confirmed = True
    device.save()
    note_device(request, device)
    sessions.end_others(user, request)
    audit.of_account(user, "turned second factor on", request)
    return new_recovery_codes(user)


@transaction.atomic
def new_recovery_codes(user: User) -> list[str]:
    """Ten codes, each good once, in place of those before."""
    device, _ = StaticDevice.objects.get_or_create(user=user, defaults={"name": "recovery"})
    device.token_set.all().delete()
    codes = ["-".join("".join(secrets.choice(LETTERS) for _ in range(5)) for _ in range(2)) for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=_hashes(code)[0]) for code in codes)
    return codes


def recovery_codes_left(user: User) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


def check(user: User, code: str) -> Device:
    """The device that the code is of: the app's six digits, or a recovery code, which is spent by it. Raises CodeRefused."""
    with transaction.atomic():  # ended before the refusal is raised, so that a wrong code stays counted
        device = _app(user) if APP_CODE.fullmatch(_digits(code)) else _recovery(user)
        if device is None:
            raise CodeRefused(WRONG)
        is_allowed, _ = device.verify_is_allowed()
        is_right = is_allowed and device.verify_token(_kept(device, code) if isinstance(device, StaticDevice) else _digits(code))
    if not is_right:
        raise CodeRefused(WRONG if is_allowed else "There were too many wrong codes; wait a little and try again.")
    return device


@transaction.atomic
def turn_off(user: User) -> bool:
    """Forgets app and recovery codes; False where there was none."""
    had_one = is_on(user)
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    return had_one


def _app(user: User) -> TOTPDevice | None:
    return TOTPDevice.objects.select_for_update().filter(user=user, confirmed=True).first()


def _recovery(user: User) -> StaticDevice | None:
    return StaticDevice.objects.select_for_update().filter(user=user, confirmed=True).first()


def _kept(device: StaticDevice, code: str) -> str:
    """The code's hash as it is kept, be it under an earlier secret of the site."""
    hashes = _hashes(code)
    return StaticToken.objects.filter(device=device, token__in=hashes).values_list("token", flat=True).first() or hashes[0]


def _hashes(code: str) -> list[str]:
    return [digest[:KEPT] for digest in keyed.digests(re.sub(r"[\s-]", "", code.lower()), purpose="recovery-code")]


def _digits(code: str) -> str:
    return re.sub(r"\s", "", code)
