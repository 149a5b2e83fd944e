"""Stillhouse on one machine: the embedded servers, the web server, a worker and the watchdog's clock, as one program.

    python -m webapp.serve [--host 127.0.0.1] [--port 8000]

It prepares the database, starts each service, starts again what dies, and ends them all on Ctrl-C or SIGTERM. The services write to
STILLHOUSE_HOME/log. A run that a worker is training when it ends goes on from its checkpoint at the next start.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import httpx

from webapp import servers

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0
SHORT_LIFE_SECONDS = 5.0
SHORT_LIVES = 5


class ServeError(Exception):
    """A service does not start or does not stay."""


@dataclass
class Service:
    """One process of ours, in a process group of its own: Ctrl-C reaches us alone, and a kill reaches all its children."""

    name: str
    arguments: Sequence[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    started: float = field(default=0.0, init=False)
    short_lives: int = field(default=0, init=False)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started = time.monotonic()

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Services:
    """Web, worker and beat, from `with` to the end of its block."""

    def __init__(self, *, host: str, port: int) -> None:
        self.url = f"http://{'localhost' if host in {'127.0.0.1', '0.0.0.0'} else host}:{port}"  # noqa: S104 - only how it is shown
        self._probe = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/healthz"  # noqa: S104
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
            Service("worker", ["celery", "--app", "workers.app", "worker", "--loglevel", "INFO"], self.logs / "worker.log"),
            Service("beat", ["celery", "--app", "workers.app", "beat", "--loglevel", "WARNING"], self.logs / "beat.log"),
        )

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            for service in self._all:
                service.start()
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def look_after(self) -> None:
        """Starts again what has ended. Raises ServeError when a service keeps ending at once."""
        for service in self._all:
            if not service.ended():
                continue
            lived = time.monotonic() - service.started
            service.short_lives = service.short_lives + 1 if lived < SHORT_LIFE_SECONDS else 0
            if service.short_lives >= SHORT_LIVES:
                raise ServeError(
                    f"{service.name} ended {SHORT_LIVES} times in a row right after its start. The end of {service.log}:\n{_end_of(service.log)}"
                )
            print(f"{service.name} ended; starting it again. Its log: {service.log}", flush=True)
            service.signal_group(signal.SIGKILL)  # children that it left
            service.start()

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

    def _wait_until_it_answers(self) -> None:
        web = self._all[0]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not web.ended():
            with suppress(httpx.HTTPError):
                httpx.get(self._probe, timeout=2)
                return
            time.sleep(0.1)
        raise ServeError(f"The web server did not start. The end of {web.log}:\n{_end_of(web.log)}")


def prepare() -> None:
    """Brings the database's tables and the catalog up to date."""
    for command in (["migrate", "--verbosity", "0"], ["sync_catalog"]):
        ended = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise ServeError(f"manage.py {command[0]} failed:\n{ended.stdout}{ended.stderr}")


@contextmanager
def own_servers() -> Iterator[None]:
    """The embedded servers run inside this block. Those that ran before it go on after it."""
    ran_before = all(server.pid for server in servers.status())
    servers.ensure()
    try:
        yield
    finally:
        if not ran_before:
            servers.stop()


@contextmanager
def until_asked_to_stop() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, SIGTERM and a closed terminal."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_serving(services: Services, asked: threading.Event, *, say: Callable[[str], None] = print) -> None:
    """Looks after the services until asked to stop."""
    while not asked.wait(0.5):
        services.look_after()
    say("Stopping.")


def free_port(host: str, first: int) -> int:
    """The first port from `first` on that nobody listens on."""
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return port
    raise ServeError(f"No port from {first} to {first + 99} is free on {host}; give another with --port.")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m webapp.serve", description="Stillhouse on one machine: servers, web and worker.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 8000 or the next free one")
    options = parser.parse_args(arguments)
    try:
        with until_asked_to_stop() as asked, own_servers():
            prepare()
            port = options.port or free_port(options.host, 8000)
            with Services(host=options.host, port=port) as services:
                print(f"Stillhouse: {services.url}  (Ctrl-C to stop; logs in {services.logs})", flush=True)
                print("No account yet? .venv/bin/python manage.py createsuperuser", flush=True)
                keep_serving(services, asked)
    except (ServeError, servers.ServersError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
