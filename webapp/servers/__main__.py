"""`python -m webapp.servers start|stop|status`."""

import sys
from collections.abc import Sequence

from webapp.serve.holding import holder as is_served_by
from webapp.servers import ServersError, ensure, home, shown, status, stop


def main(arguments: Sequence[str]) -> int:
    """`start`, `stop` or `status`. Exit code: 0; 1 when a server does not start, or for `status` when one is not running; 2 for a wrong call."""
    if len(arguments) != 1 or arguments[0] not in {"start", "stop", "status"}:
        print("usage: python -m webapp.servers start|stop|status", file=sys.stderr)
        return 2
    try:
        if arguments[0] == "start":
            found = ensure()
            print(f"DATABASE_URL={shown(found.database_url)}\nREDIS_URL={shown(found.redis_url)}")
        elif arguments[0] == "stop":
            stop()
            if (holder := is_served_by(home())) is not None:
                print(f"Stopped. But {holder} serves this home, and starts them again.")
        else:
            servers = status()
            for server in servers:
                print(f"{server.name}: {f'running, pid {server.pid}' if server.pid else 'not running'}, {server.address}, log {server.log}")
            return 0 if all(server.pid for server in servers) else 1
    except ServersError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
