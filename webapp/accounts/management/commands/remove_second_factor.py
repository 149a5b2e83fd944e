"""Lets somebody back in who has lost the phone and the recovery codes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from webapp.accounts import audit
from webapp.accounts.credentials import second_factor, sessions
from webapp.accounts.models import User


class Command(BaseCommand):
    help = "Removes the second factor of NAME and ends their sessions. Make sure that it is really they who ask."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The user name.")

    def handle(self, *, name: str, **_: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user with the name {name!r}.")
        with transaction.atomic():
            if not second_factor.turn_off(user):
                raise CommandError(f"{name} has no second factor.")
            ended = sessions.end_all(user)
            audit.by_operator(user, "turned second factor off")
        self.stdout.write(f"{name} signs in with the password alone from now on; {ended} sessions ended.")
