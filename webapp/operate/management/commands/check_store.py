"""manage.py check_store"""

import sys
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand

from webapp.operate.integrity import LOST, findings


class Command(BaseCommand):
    help = "Compares the store with the database. Exit code 1 when a file is missing, truncated or changed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--deep", action="store_true", help="also read every file and compare its SHA-256")

    def handle(self, *args: Any, **options: Any) -> None:
        count: Counter[str] = Counter()
        for finding in findings(deep=options["deep"]):
            count[finding.kind] += 1
            self.stdout.write(f"{finding.kind:<10} {finding.path}: {finding.sentence}")
        self.stdout.write(", ".join(f"{number:,} {kind}" for kind, number in sorted(count.items())) or "All is as it should be.")
        if any(count[kind] for kind in LOST):
            sys.exit(1)
