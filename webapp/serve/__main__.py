"""`python -m webapp.serve [--host HOST] [--port PORT]`."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from webapp import servers
from webapp.serve.lives import ServeError
from webapp.serve.serving import stillhouse


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until asked to stop. Exit code: 0; 1 with a sentence when it can't; 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m webapp.serve", description="Stillhouse on one machine: servers, web and worker.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 8000 or the next free one")
    options = parser.parse_args(arguments)
    if options.port is not None and not 1 <= options.port <= 65535:
        parser.error(f"--port must be from 1 to 65535; got {options.port}")
    try:
        with stillhouse(host=options.host, port=options.port, say=partial(print, flush=True)) as serving:
            print(f"Stillhouse: {serving.services.url}  (Ctrl-C to stop; logs in {serving.services.logs})", flush=True)
            print("No account yet? .venv/bin/python manage.py createsuperuser", flush=True)
            serving.until_asked_to_stop()
    except (ServeError, servers.ServersError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
