"""manage.py backup"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.operate.backup.archive import BackupError
from webapp.operate.backup.write import write, write_to


class Command(BaseCommand):
    help = "Writes database and store into one file, consistent with each other, while runs go on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="where to write, which must not exist; - for standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        to_stdout = options["file"] == "-"
        try:
            manifest = write(sys.stdout.buffer, self._say) if to_stdout else write_to(Path(options["file"]), self._say)
        except BackupError as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            raise CommandError("Nobody reads the backup any longer; it is not whole.") from None
        if to_stdout:
            sys.stdout.buffer.flush()
        self._say(f"done: {manifest.bytes:,} bytes" + (f", {len(manifest.missing)} files missing" if manifest.missing else ""))

    def _say(self, line: str) -> None:
        self.stderr.write(line)
