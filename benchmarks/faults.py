"""What is killed, and what becomes of the runs: `serve`, a second worker, and faults at random moments.

    python benchmarks/faults.py [1000] [--seed 0]

Kills children, workers, web server, beat, PostgreSQL and Valkey (SIGKILL); stops a worker for longer than its lease; makes Valkey forget
everything; fills the store's disk, and that of the servers; hides the store as an unmounted disk does. After each fault it waits until
somebody has noticed and some run has made a step again. At the end it counts runs that are lost, histories that are not the undisturbed one
point for point, and weights that are not the same bits; it exits with 1 unless each count is 0.

Everything is its own: a home under /tmp, embedded servers on a disk of 512 MB and a store of 96 MB, both mounted for this program alone.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from tests.processes import Program

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
T = TypeVar("T")

LEASE, WATCHDOG = 4.0, 0.5
STEPS, CHECKPOINT = 3000, 50
SPEC: dict[str, Any] = {"budget": {"steps": STEPS}, "cadence": {"checkpoint": CHECKPOINT, "evaluate": 500}, "threads": 1}
AT_ONCE = 3
BAD = ("lost", "histories that differ", "weights that differ")
PATIENCE = 300.0
SHARES = {
    "child": 30, "worker": 15, "web": 8, "beat": 7, "postgres": 10, "valkey": 10, "sleep": 5, "flush": 5,
    "full disk": 5, "full database": 5, "no store": 5,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="?", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(SHARES), help="which faults, with commas between them; all unless given")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)  # given once this program has its own mounts
    asked = parser.parse_args()
    if asked.home is None:
        return with_own_mounts(asked)
    counts = Campaign(asked.home, random.Random(asked.seed), asked.kinds.split(",")).of(asked.faults)
    print(json.dumps(counts))
    return 1 if any(counts[name] for name in BAD) else 0


def with_own_mounts(asked: argparse.Namespace) -> int:
    """Runs this program again with a small disk as its store and one for its servers. Nobody else sees them, and they go with the last process."""
    as_root = os.geteuid() == 0
    own = ["unshare", "--mount", *([] if as_root else ["--map-current-user", "--keep-caps"])]
    with tempfile.TemporaryDirectory(prefix="stillhouse-faults-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o711)
        for name in ("store", "servers", "nothing"):
            (home / name).mkdir()
        mount = f"mount -t tmpfs -o size=96m,mode=700 none {home}/store && mount -t tmpfs -o size=512m,mode=711 none {home}/servers"
        program = [sys.executable, __file__, str(asked.faults), "--seed", str(asked.seed), "--kinds", asked.kinds, "--home", str(home)]
        return subprocess.run([*own, "sh", "-c", f'{mount} && exec "$@"', "sh", *program], cwd=ROOT, check=False).returncode


class Campaign:
    """Strikes, waits until the strike was noticed and the work goes on, and keeps runs coming."""

    def __init__(self, home: Path, generator: random.Random, kinds: Sequence[str]) -> None:
        self.home, self.generator, self.kinds = home, generator, kinds
        self.noticed: dict[str, list[float]] = defaultdict(list)
        self.counts: Counter[str] = Counter(dict.fromkeys(BAD, 0))
        self.judged: set[Any] = set()
        self.store_was_away = False
        os.environ |= environment_of(home)

    def of(self, faults: int) -> dict[str, int]:
        """Makes so many faults, lets all runs end, and returns the counts."""
        import django

        django.setup()
        from tests import processes
        from tests.faults.undisturbed import Undisturbed

        self.port = processes.free_port()
        self.undisturbed = Undisturbed({"method": "supervised", "task": "digits", "device": "cpu"} | SPEC, self.home / "undisturbed")
        self.serve = self._served()
        self.second = processes.worker(os.environ, slots=1)
        try:
            for number, kind in enumerate(self._drawn(faults)):
                self._strike(number, kind)
            self._keep_going(wanted=0)
            until(lambda: self._keep_going(wanted=0) == 0, "all runs to end")
        except BaseException:
            print(f"serve: {self.serve.output[-2000:]}\nthe second worker: {self.second.output[-4000:]}", flush=True)
            raise
        finally:
            self.second.end()
            self.serve.end()
        self._report()
        return dict(self.counts)

    def _served(self) -> "Program":
        from tests import processes

        serve = processes.Program(["-m", "webapp.serve", "--port", str(self.port)], os.environ)
        until(lambda: "Ctrl-C" in serve.output or not serve.is_running(), "serve to answer")
        assert serve.is_running(), serve.output
        return serve

    def _drawn(self, faults: int) -> list[str]:
        """Kinds of faults in random order, each as often as its share, and at least once where there is room."""
        kinds = [*self.kinds, *self.generator.choices(self.kinds, [SHARES[kind] for kind in self.kinds], k=faults)][:faults]
        self.generator.shuffle(kinds)
        return kinds

    def _strike(self, number: int, kind: str) -> None:
        """One fault, until it was noticed and a run has made a step after it."""
        self._keep_going(wanted=AT_ONCE)
        began, noticed = getattr(self, f"_{kind.replace(' ', '_')}")()
        until(noticed, f"fault {number}, {kind}, to be noticed")
        self.noticed[kind].append(time.monotonic() - began)
        self.counts["faults"] += 1
        before = asked(places)
        until(lambda: asked(places) - before or self._keep_going(wanted=AT_ONCE) is None, f"a step after fault {number}, {kind}")
        print(f"{number + 1}. {kind}: noticed after {self.noticed[kind][-1]:.1f} s", flush=True)

    def _keep_going(self, *, wanted: int) -> int:
        """Judges what has ended, resumes what failed for want of the store, as a person would, and launches until `wanted` runs are unfinished.
        Returns how many are."""
        from tests.runs import queued_run
        from webapp.runs import lifecycle
        from webapp.runs.models import ENDED, Run, State

        def look() -> int:
            for run in Run.objects.filter(state__in=ENDED).exclude(pk__in=self.judged):
                if run.state == State.FAILED and self.store_was_away:
                    lifecycle.requeue(run, "the operator")
                    self.counts["resumed by hand after the store was away"] += 1
                else:
                    self._judge(run)
            unfinished = Run.objects.exclude(state__in=ENDED).count()
            for _ in range(wanted - unfinished):
                queued_run(name=f"run {len(self.judged)}", **SPEC)
            return max(unfinished, wanted)

        return asked(look)

    def _judge(self, run: Any) -> None:
        """Counts what is wrong with a run that has ended. Its files make room for others."""
        differences = self.undisturbed.differences(run)
        self.judged.add(run.pk)
        self.counts["runs"] += 1
        for what, detail in differences.items():
            self.counts[what] += 1
            print(f"{run.name}: {what}: {detail}", flush=True)
        shutil.rmtree(self.home / "store" / "runs" / str(run.pk), ignore_errors=True)

    # The faults. Each returns when it was made, and how one sees that it was noticed.

    def _child(self) -> "Struck":
        attempt = self._victim()
        with suppress(ProcessLookupError):
            os.kill(attempt.pid, signal.SIGKILL)
        return self._until_it_ended(attempt)

    def _worker(self) -> "Struck":
        attempt = self._victim()
        pid = int(attempt.worker.rpartition(":")[2])
        if pid == self.second.pid:
            from tests import processes

            self.second.kill()
            self.second = processes.worker(os.environ, slots=1)
        else:
            kill(pid)
        return self._until_it_ended(attempt)

    def _sleep(self) -> "Struck":
        """A worker that is stopped for longer than its lease, and wakes up when its run was taken away."""
        attempt = self._victim()
        worker = psutil.Process(int(attempt.worker.rpartition(":")[2]))
        worker.suspend()
        began = time.monotonic()
        try:
            until(lambda: asked(lambda: type(attempt).objects.get(pk=attempt.pk).ended_at), "the sleeper's run to be taken away")
        finally:
            worker.resume()
        return began, lambda: True

    def _web(self) -> "Struck":
        return self._service("uvicorn")

    def _beat(self) -> "Struck":
        return self._service("beat")

    def _postgres(self) -> "Struck":
        from webapp.runs.models import Run

        self._kill_server(0)
        return time.monotonic(), lambda: asked(lambda: Run.objects.exists() or True)

    def _valkey(self) -> "Struck":
        self._kill_server(1)
        return time.monotonic(), lambda: self._server(1) and redis_answers()

    def _flush(self) -> "Struck":
        import redis
        from django.conf import settings

        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.flushall()
        return time.monotonic(), lambda: True

    def _full_disk(self) -> "Struck":
        with filled(self.home / "store") as began:
            self._store_is_away_for_a_while()
        return began, lambda: True

    def _full_database(self) -> "Struck":
        """PostgreSQL refuses what is written, or dies. Where it could not even start, serve has given up with a sentence, and is started again."""
        with filled(self.home / "servers") as began:
            time.sleep(self.generator.uniform(0.5, 4.0))
        return began, self._writes_again

    def _writes_again(self) -> bool:
        from django.db import DatabaseError, connection

        from webapp.runs.models import Run

        if not self.serve.is_running():
            self.counts["serve started again after the database's disk was full"] += 1
            self.serve = self._served()
        try:
            return Run.objects.update(notes="written") >= 0
        except DatabaseError:
            connection.close()
            return False

    def _no_store(self) -> "Struck":
        store, began = str(self.home / "store"), time.monotonic()
        subprocess.run(["mount", "--bind", str(self.home / "nothing"), store], check=True)
        self._store_is_away_for_a_while()
        subprocess.run(["umount", "--lazy", store], check=True)
        return began, lambda: True

    def _store_is_away_for_a_while(self) -> None:
        self.store_was_away = True
        time.sleep(self.generator.uniform(0.5, 4.0))

    def _victim(self) -> Any:
        """An attempt whose run is a random number of steps past a checkpoint of this attempt."""
        from webapp.runs.models import Attempt, State

        margin = self.generator.randint(1, 4 * CHECKPOINT)

        def look() -> Any:
            running = Attempt.objects.filter(ended_at=None, run__state=State.RUNNING, pid__isnull=False).select_related("run")
            ripe = [
                each for each in running if (each.run.checkpoint_step or 0) > each.from_step and each.run.step >= each.from_step + margin
            ]
            self._keep_going(wanted=AT_ONCE)
            return self.generator.choice(ripe) if ripe else None

        return until(lambda: asked(look), "a run to strike")

    def _until_it_ended(self, attempt: Any) -> "Struck":
        return time.monotonic(), lambda: asked(lambda: type(attempt).objects.get(pk=attempt.pk).ended_at is not None)

    def _service(self, word: str) -> "Struck":
        """Kills one of serve's processes, which starts it again."""
        before = until(lambda: self._process(word), f"a process of serve's with {word!r}")
        kill(before)
        return time.monotonic(), lambda: self._process(word) not in (0, before)

    def _process(self, word: str) -> int:
        for process in self.serve.descendants():
            with suppress(psutil.Error):
                if word in process.cmdline() and process.ppid() == self.serve.pid:
                    return process.pid
        return 0

    def _server(self, index: int) -> int:
        from webapp import servers

        return servers.status()[index].pid or 0

    def _kill_server(self, index: int) -> None:
        kill(until(lambda: self._server(index), "the server to be up"))

    def _report(self) -> None:
        for kind, seconds in sorted(self.noticed.items()):
            print(f"{kind}: {len(seconds)}, noticed after {statistics.median(seconds):.1f} s (median), at most {max(seconds):.1f} s")
        longest = max((max(self.noticed[kind]) for kind in ("child", "worker", "sleep") if self.noticed[kind]), default=0.0)
        print(
            f"the longest until a lost run was noticed: {longest:.1f} s, of a lease of {LEASE:g} s and a watchdog that looks every {WATCHDOG:g} s"
        )


Struck = tuple[float, Callable[[], Any]]


def environment_of(home: Path) -> dict[str, str]:
    """Leases of seconds, not minutes."""
    for name in ("DATABASE_URL", "REDIS_URL", "STILLHOUSE_STORE"):
        os.environ.pop(name, None)
    return {
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "STILLHOUSE_HOME": str(home),
        "STILLHOUSE_CPU_SLOTS": "1",
        "STILLHOUSE_LEASE_SECONDS": f"{LEASE:g}",
        "STILLHOUSE_SILENT_SECONDS": "2",
        "STILLHOUSE_HEARTBEAT_SECONDS": "0.3",
        "STILLHOUSE_WATCHDOG_SECONDS": f"{WATCHDOG:g}",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def asked(question: Callable[[], T]) -> T:
    """What the database says, as soon as there is one."""
    from django.db import InterfaceError, OperationalError, connection

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return question()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def places() -> set[tuple[Any, int, int]]:
    """Where each unfinished run is: its id, attempt and step."""
    from webapp.runs.models import Run, State

    return set(Run.objects.filter(state=State.RUNNING).values_list("pk", "attempt", "step"))


def until(condition: Callable[[], T], what: str) -> T:
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain for {what}"
        time.sleep(0.05)
    return answer


@contextmanager
def filled(disk: Path) -> Iterator[float]:
    """Leaves no room for the time of the block, and gives the time from which on there was none."""
    from tests.engine.run.small_disk import fill, free

    fill(disk)
    try:
        yield time.monotonic()
    finally:
        free(disk)


def kill(pid: int) -> None:
    assert pid > 1, "0 would be everybody in this program's own group"
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def redis_answers() -> bool:
    import redis
    from django.conf import settings

    with suppress(redis.RedisError, OSError), redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
        return bool(client.ping())
    return False


if __name__ == "__main__":
    sys.exit(main())
