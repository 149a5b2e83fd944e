"""All of Stillhouse from `with` to the end of its block: what `serve` and the demo share."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from webapp import development
from webapp.serve.address import port_to_listen_on, refuse_strangers
from webapp.serve.holding import held_home
from webapp.serve.lives import ServeError
from webapp.serve.own_servers import OwnServers
from webapp.serve.services import ROOT, Services

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Serving:
    """Stillhouse, as it is being served."""

    services: Services
    servers: OwnServers
    asked: threading.Event
    say: Callable[[str], None]

    def wait(self) -> bool:
        """Looks after everything, and waits a moment. True when somebody has asked to stop."""
        self.servers.look_after(self.say)
        self.services.look_after(self.say)
        return self.asked.wait(LOOK_SECONDS)

    def until_asked_to_stop(self) -> None:
        while not self.wait():
            pass
        self.say("Stopping.")


@contextmanager
def stillhouse(*, host: str, port: int | None, say: Callable[[str], None]) -> Iterator[Serving]:
    """Raises ServeError or ServersError, before anything is started where that can be known."""
    refuse_strangers(host)
    development.ask_unless_configured()
    with until_asked_to_stop() as asked, held_home(say) as hold:
        services = Services(host=host, port=port_to_listen_on(host, port), remember=hold.remember_services)
        hold.tell(services.url)
        with OwnServers(hold) as own:
            prepare()
            with services:
                yield Serving(services, own, asked, say)


def prepare() -> None:
    """Brings the database's tables and the catalog up to date."""
    for command in (["migrate", "--verbosity", "0"], ["sync_catalog"]):
        ended = subprocess.run(
            [sys.executable, "manage.py", *command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise ServeError(f"manage.py {command[0]} failed:\n{ended.stdout}{ended.stderr}")


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
