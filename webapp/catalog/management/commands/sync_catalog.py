"""manage.py sync_catalog"""

from typing import Any

from django.core.management.base import BaseCommand

from webapp.catalog.sync import sync


class Command(BaseCommand):
    help = "Copies the engine's methods and tasks into the database. Run it after each upgrade; running it again changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        synced = sync()
        gone = f"; no longer there: {', '.join(synced.gone)}" if synced.gone else ""
        self.stdout.write(f"{synced.methods} methods and {synced.tasks} tasks{gone}.")
