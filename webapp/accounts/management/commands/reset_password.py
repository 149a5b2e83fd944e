"""Lets somebody back in who has forgotten the password."""

import sys
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from webapp.accounts import audit
from webapp.accounts.credentials import passwords, sessions
from webapp.accounts.models import User


class Command(BaseCommand):
    help = (
        "Prints a link, good once and for some hours, at which NAME sets a new password. With --stdin the password is read from the input."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The user name.")
        parser.add_argument("--site", help="Where the site is, as https://host; by default the first of STILLHOUSE_ORIGINS.")
        parser.add_argument("--stdin", action="store_true", help="Set the password that the first line of the input holds.")

    def handle(self, *, name: str, site: str | None, stdin: bool, **_: Any) -> None:
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no user with the name {name!r} who may sign in.")
        if stdin:
            return self._set(user, sys.stdin.readline().rstrip("\n"))
        site = site or next(iter(settings.CSRF_TRUSTED_ORIGINS), "http://localhost:8000")
        audit.by_operator(user, "made a link for a new password")
        self.stdout.write(passwords.link_for(user, site))
        return None

    def _set(self, user: User, password: str) -> None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        with transaction.atomic():
            user.set_password(password)
            user.save(update_fields=["password"])
            ended = sessions.end_all(user)
            audit.by_operator(user, "changed password")
        self.stdout.write(f"{user.get_username()} has a new password; {ended} sessions ended. API tokens go on.")
