"""manage.py doctor"""

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from webapp.operate.doctor.checkup import checkup


class Command(BaseCommand):
    help = "Says what runs, what does not, and what is set so that it will hurt. Exit code 1 when there is a problem."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the web server answers")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        lines = []
        for line in checkup(options["url"]):
            lines.append(line)
            if not options["json"]:
                self.stdout.write(f"{line.level:<8} {line.about}: {line.words}{f'. {line.remedy}' if line.remedy else ''}")
        problems = sum(line.level == "problem" for line in lines)
        if options["json"]:
            self.stdout.write(json.dumps({"well": not problems, "lines": [asdict(line) for line in lines]}))
        if problems:
            sys.exit(1)
