"""The embedded PostgreSQL and Valkey for as long as Stillhouse is served: started, looked after, stopped."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from webapp import servers
from webapp.serve.holding import Hold
from webapp.serve.lives import Lives


class OwnServers:
    """They run from `with` to the end of its block. Those that somebody else has started are used, looked after too, and go on after it."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._lives = {server.name: Lives(server.name, server.log) for server in servers.wanted()}
        self._stop_them = False

    def __enter__(self) -> Self:
        self._stop_them = self._hold.has_started_servers or not all(server.pid for server in servers.wanted())
        if self._stop_them:
            self._hold.remember_servers(started=True)
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stop_them:
            servers.stop()
            self._hold.remember_servers(started=False)

    def look_after(self, say: Callable[[str], None]) -> None:
        """Starts again what has ended, and bounds the logs. Raises ServeError when one keeps ending at once, ServersError when one does not start."""
        servers.keep_logs_bounded()
        ended = [server for server in servers.wanted() if server.pid is None]
        if not ended:
            return
        for server in ended:
            self._lives[server.name].end()
            say(f"{server.name} ended; starting it again. Its log: {server.log}")
        self._start([server.name for server in ended])

    def _start(self, names: list[str] | None = None) -> None:
        servers.ensure()
        for name in names or self._lives:
            self._lives[name].begin()
