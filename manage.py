#!/usr/bin/env python
"""Django's entry point. Starts the embedded servers first where a command may need them."""

import os
import sys

from webapp import development, servers

NEEDS_NO_SERVER = {"help", "version", "check", "makemigrations", "spectacular", "collectstatic"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    development.ask_unless_configured()
    if len(sys.argv) > 1 and sys.argv[1] not in NEEDS_NO_SERVER and not {"-h", "--help"} & set(sys.argv):
        try:
            servers.ensure()
        except servers.ServersError as error:
            sys.exit(str(error))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
