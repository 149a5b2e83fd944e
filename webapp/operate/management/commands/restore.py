"""manage.py restore"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.operate.backup.archive import BackupError
from webapp.operate.backup.read import check
from webapp.operate.backup.restore import restore


class Command(BaseCommand):
    help = (
        "Puts a backup into an empty database and store, all or nothing. Runs that were running are queued again, from their checkpoints."
    )
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="what manage.py backup has written")
        parser.add_argument("--replace", action="store_true", help="delete what database and store hold now")
        parser.add_argument("--check", action="store_true", help="only read the file, and say whether it is whole")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["check"]:
                manifest = check(options["file"])
            else:
                manifest = restore(options["file"], self.stderr.write, replace=options["replace"])
        except BackupError as error:
            raise CommandError(str(error)) from error
        done = "Whole" if options["check"] else "Restored"
        self.stdout.write(f"{done}: {sum(manifest.rows.values()):,} rows and {manifest.store_files:,} files of {manifest.made_at}.")
