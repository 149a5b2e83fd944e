"""manage.py adopt_store"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from webapp.fleet.store import adopt


class Command(BaseCommand):
    help = (
        "Says that the folder STILLHOUSE_STORE, as this machine sees it, is the store from now on. Run it after the store has moved and its "
        "hidden files were left behind; workers that see another folder take no runs until they see this one."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        adopt(settings.STORE)
        self.stdout.write(f"{settings.STORE} is the store.")
