"""The web server, a worker and the watchdog's clock: processes of ours that are started again when they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from webapp import servers
from webapp.serve.address import url
from webapp.serve.lives import Lives, ServeError, end_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass
class Service:
    """One process of ours, in a process group of its own: Ctrl-C reaches us alone, and a kill reaches all its children.

    It writes its log by itself and keeps it bounded, so it needs nobody when we are killed; what it prints goes into the same file.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    lives: Lives = field(init=False)

    def __post_init__(self) -> None:
        self.lives = Lives(self.name, self.log)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                cwd=ROOT,
                # By the home a later serve knows them for its own.
                env=os.environ | {"STILLHOUSE_HOME": str(servers.home()), "STILLHOUSE_LOG_FILE": str(self.log)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.lives.begin()

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Services:
    """Web, worker and beat, from `with` to the end of its block. `remember` is told which processes they are at each start."""

    def __init__(self, *, host: str, port: int, remember: Callable[[list[int]], None]) -> None:
        self.url = url(host, port, shown=True)
        self.reached_at = url(host, port)
        self._remember = remember
        self.logs = servers.home() / "log"
        web = [
            "uvicorn",
            "webapp.asgi:application",
            "--host",
            host,
            "--port",
            str(port),
            "--timeout-graceful-shutdown",
            "3",
            "--no-access-log",
            "--no-proxy-headers",
        ]
        self._all = (
            Service("web", web, self.logs / "web.log"),
            Service("worker", ["celery", "--app", "workers.app", "worker"], self.logs / "worker.log"),
            Service("beat", ["celery", "--app", "workers.app", "beat"], self.logs / "beat.log"),
        )

    def __enter__(self) -> Self:
        self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            for service in self._all:
                self._start(service)
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def look_after(self, say: Callable[[str], None]) -> None:
        """Starts again what has ended. Raises ServeError when a service keeps ending at once."""
        for service in self._all:
            if not service.ended():
                continue
            service.lives.end()
            say(f"{service.name} ended; starting it again. Its log: {service.log}")
            service.signal_group(signal.SIGKILL)  # children that it left
            self._start(service)

    def stop(self) -> None:
        """Asks all to end, waits, and kills what stays, children too."""
        for service in self._all:
            if service.process is not None and not service.ended():
                service.process.terminate()  # not the group: a worker ends its children itself, after their checkpoint
        deadline = time.monotonic() + STOP_SECONDS
        for service in self._all:
            if service.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    service.process.wait(max(0.1, deadline - time.monotonic()))
                service.signal_group(signal.SIGKILL)
                service.process.wait()

    def _start(self, service: Service) -> None:
        service.start()
        self._remember([service.process.pid for service in self._all if service.process is not None])

    def _wait_until_it_answers(self) -> None:
        web = self._all[0]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not web.ended():
            with suppress(httpx.HTTPError):
                httpx.get(f"{self.reached_at}/healthz", timeout=2)
                return
            time.sleep(0.1)
        raise ServeError(f"The web server did not start. The end of {web.log}:\n{end_of(web.log)}")
