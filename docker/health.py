"""What Docker asks a container: `python health.py web|worker|beat`. Exits 0 when it is well; otherwise 1, with a sentence.

A container whose process has ended needs no check, Docker starts it again. This reports whether a living one can do its work.
"""

import os
import sys
import urllib.request

PATIENCE = 5
WEB = "http://localhost:8000/readyz"


def web(url: str) -> None:
    """The page that answers for database, its version and Redis answers 200."""
    with urllib.request.urlopen(url, timeout=PATIENCE):  # noqa: S310 - our own address
        pass


def worker() -> None:
    """PostgreSQL, which has the runs, and Redis, which rings for them, answer."""
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=PATIENCE) as connection:
        connection.execute("SELECT 1")
    beat()


def beat() -> None:
    """Redis answers."""
    import redis

    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE) as client:
        client.ping()


def main(role: str, url: str = WEB) -> str | None:
    """None when the role is well, else what is wrong, in a sentence. `url` is where the web server of this container answers."""
    checks = {"web": lambda: web(url), "worker": worker, "beat": beat}
    try:
        checks[role]()
    except Exception as error:
        return f"{role} is not well: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
