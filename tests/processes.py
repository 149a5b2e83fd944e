"""Real processes for tests: a Celery worker, beat, the web server. Each can be killed as a machine would kill it."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parent.parent


class Program:
    """A program in a process group of its own. Its output is kept, line by line, for whoever waits for a word or asks what went wrong."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def descendants(self) -> list[psutil.Process]:
        """Every process under this one that still runs."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9 of this process alone, as the kernel does it when memory runs out: what it started must go by itself."""
        self._process.kill()
        self._process.wait()

    def stop(self, *, seconds: float = 30) -> int:
        """Asks it to end, as an operator does, and returns its exit code; kills it and its group when it does not listen."""
        if self.is_running():
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise AssertionError(f"a process did not end within {seconds:g} s of SIGTERM:\n{self.output[-4000:]}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stops it, and reads the last that it printed."""
        self.stop()
        self._reader.join(5)

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(iter(self._process.stdout.readline, ""))
        self._process.stdout.close()


def worker(environment: Mapping[str, str], *, slots: int = 2) -> Program:
    """A Celery worker with so many CPU slots. It is ready when it says so: `ready.`"""
    arguments = ["-m", "celery", "-A", "workers.app", "worker", "--without-gossip", "--without-mingle"]
    return Program(arguments, {**environment, "STILLHOUSE_CPU_SLOTS": str(slots), "OMP_NUM_THREADS": "1"})


def beat(environment: Mapping[str, str]) -> Program:
    return Program(["-m", "celery", "-A", "workers.app", "beat"], environment)


def web(environment: Mapping[str, str], port: int) -> Program:
    return Program(
        [
            "-m",
            "uvicorn",
            "webapp.asgi:application",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--log-level",
            "warning",
            "--no-proxy-headers",
        ],
        environment,
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
