"""manage.py retain"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from webapp.operate.retention import sweep


class Command(BaseCommand):
    help = "Removes what need not be kept any longer: checkpoints, trash, old logs, orphaned files. A worker does it every few minutes by itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")

    def handle(self, *args: Any, **options: Any) -> None:
        count = size = 0
        for removal in sweep(dry_run=options["dry_run"]):
            self.stdout.write(f"{removal.bytes:>15,}  {removal.what}")
            count, size = count + 1, size + removal.bytes
        would = "Would remove" if options["dry_run"] else "Removed"
        self.stdout.write(f"{would} {count} thing{'s' * (count != 1)}, {size:,} bytes of files.")
