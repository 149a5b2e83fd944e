"""`make demo`: a teacher, four ways to train a small student, and the comparison, all through the REST API as a notebook would do it.

    python -m webapp.demo [--seeds 3] [--task digits] [--port 8000]

Starts what is needed, trains, prints the comparison and where to open it. On a terminal it then serves until Ctrl-C; otherwise it exits with 0.
What it started ends with it, however it ends; the runs stay in STILLHOUSE_HOME.
"""

import argparse
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from webapp import servers
from webapp.serve import ServeError, Serving, stillhouse

PROJECT = "demo"
PERSON = "demo"
TOKEN_NAME = "make demo"  # noqa: S105 - what it is called on the tokens page
METHODS = ("supervised", "vanilla-kd", "logit-standardization", "ps-kd")
SHOWN = ("accuracy", "nll", "ece", "brier", "agreement", "parameters", "latency_ms")
TRAIN_SECONDS = 900.0
PATIENCE_SECONDS = 60.0
ENDED = {"succeeded", "failed", "stopped"}


class DemoError(Exception):
    """The demo can't go on."""


class Interrupted(Exception):
    """Somebody wants the demo to end."""


@dataclass(frozen=True)
class DemoAccount:
    """How to get in: by page and by API."""

    name: str
    password: str
    token: str


def make_account() -> DemoAccount:
    """The demo's person, who owns the demo's project, with a new password and a token for a day."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    import django

    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Django's settings would have each request written down
    from webapp.accounts import tokens
    from webapp.accounts.models import Membership, Project, Role, Scope, User

    person, _ = User.objects.get_or_create(username=PERSON)
    password = secrets.token_urlsafe(9)
    person.set_password(password)
    person.save()
    project, _ = Project.objects.get_or_create(slug=PROJECT, defaults={"name": "Demo", "description": "What make demo trained."})
    Membership.objects.update_or_create(user=person, project=project, defaults={"role": Role.OWNER})
    person.api_tokens.filter(name=TOKEN_NAME).delete()
    _, token = tokens.make(person, project, name=TOKEN_NAME, scope=Scope.LAUNCH, days=1)
    return DemoAccount(PERSON, password, token)


class Demo:
    """The part that a notebook could do as well: nothing but HTTP."""

    def __init__(self, client: httpx.Client, console: Console, serving: Serving) -> None:
        self.client, self.console, self.serving = client, console, serving

    def get(self, path: str, **parameters: Any) -> Any:
        """Asks again while something that has ended is being started again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self.client.get(path, params=parameters)
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            else:
                if not response.is_server_error or time.monotonic() > deadline:
                    return self._answer(response)
            if self.serving.wait():
                raise Interrupted

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._answer(self.client.post(path, json=body, headers={"Idempotency-Key": secrets.token_hex(8)}))

    def teacher(self, task: Mapping[str, Any]) -> str:
        """The id of the task's default teacher: one that an earlier demo trained, or a new run."""
        recipe = task["card"]["teacher_preset"]
        body = {
            "name": f"teacher {task['card']['teacher']}",
            "tags": ["teacher"],
            "method": "supervised",
            "task": task["id"],
            "student": task["card"]["teacher"],
            "settings": recipe["settings"],
            "budget": recipe["budget"],
        }
        earlier = self.get(
            f"projects/{PROJECT}/runs/", state="succeeded", tag="teacher", task=task["id"], method="supervised", sort="-created"
        )
        for run in earlier["results"]:
            if run["student"] == body["student"]:
                self.console.print(f"Teacher {body['student']}: trained by an earlier demo.")
                return str(run["id"])
        launched = self.post(f"projects/{PROJECT}/runs/", body)["runs"]
        self.watch({run["id"]: body["name"] for run in launched})
        return str(launched[0]["id"])

    def students(self, task: str, teacher: str, seeds: int) -> dict[str, list[str]]:
        """Ids of the launched runs by method. All train the task's default student for the same number of epochs."""
        takes_teacher = {method["id"]: method["card"]["teachers"] is not None for method in self.get("methods/")["results"]}
        launched: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        for method in METHODS:
            body = {
                "method": method,
                "task": task,
                "teachers": [f"run:{teacher}"] if takes_teacher[method] else [],
                "budget": {"epochs": 60},
                "seeds": seeds,
                "tags": ["demo"],
            }
            runs = self.post(f"projects/{PROJECT}/runs/", body)["runs"]
            launched[method] = [run["id"] for run in runs]
            names |= {run["id"]: run["name"] for run in runs}
        self.watch(names)
        return launched

    def watch(self, names: Mapping[str, str]) -> None:
        """Shows the runs' progress until all have ended. Raises DemoError when one did not succeed."""
        columns = (
            TextColumn("{task.description:<40}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]:<10}"),
            TimeRemainingColumn(),
        )
        deadline = time.monotonic() + TRAIN_SECONDS
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal) as progress:
            bars: dict[str, TaskID] = {run: progress.add_task(name, total=None, state="queued") for run, name in names.items()}
            open_runs = dict(names)
            while open_runs:
                for run in list(open_runs):
                    row = self.get(f"runs/{run}/")
                    progress.update(bars[run], completed=row["step"], total=row["total_steps"] or None, state=row["state"])
                    if row["state"] in ENDED:
                        self._say_how_it_ended(row)
                        del open_runs[run]
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"{len(open_runs)} runs did not end within {TRAIN_SECONDS:g} s. Worker's log: {servers.home() / 'log' / 'worker.log'}"
                    )
                if open_runs and self.serving.wait():
                    raise Interrupted

    def _say_how_it_ended(self, row: Mapping[str, Any]) -> None:
        if row["state"] != "succeeded":
            raise DemoError(f"{row['name']} {row['state']}: {row['reason']} Worker's log: {servers.home() / 'log' / 'worker.log'}")
        if not self.console.is_terminal:
            self.console.print(f"{row['name']}: {row['state']}, {row['step']} steps")

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_error:
            raise DemoError(f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}")
        return response.json()


def comparison_table(found: Mapping[str, Any]) -> Table:
    """The comparison as a table for a terminal: mean ± standard deviation over seeds, and the difference to the baseline."""
    table = Table(title="Test rows: mean ± standard deviation over seeds, and the difference to the baseline")
    table.add_column("")
    for column in found["columns"]:
        table.add_column(f"{column['label']}\n{'baseline, ' if column['is_baseline'] else ''}n = {len(column['runs'])}", justify="right")
    arrows = {"higher": " ↑", "lower": " ↓", None: ""}
    by_id = {row["id"]: row for row in found["rows"]}
    for row in (by_id[name] for name in SHOWN if name in by_id):
        unit = f" [{row['unit']}]" if row["unit"] else ""
        table.add_row(escape(f"{row['title']}{unit}{arrows[row['better']]}"), *(cell_text(cell) for cell in row["cells"]))
    return table


def cell_text(cell: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "–"
    text = number(cell["mean"])
    if cell["std"] is not None:
        text += f" ± {number(cell['std'])}"
    if cell["delta"]:
        color = {"better": "green", "worse": "red"}.get((cell["verdict"] or {}).get("word", ""), "dim")
        text += f"\n[{color}]{'+' if cell['delta'] > 0 else '−'}{number(abs(cell['delta']))}[/{color}]"
    return text


def number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) >= 100 else f"{value:.4f}"


def show(demo: Demo, account: DemoAccount, *, task_id: str, seeds: int) -> None:
    """Trains, compares, and says where to look."""
    task = next(task for task in demo.get("tasks/")["results"] if task["id"] == task_id)
    demo.console.print(f"Teacher of {task['title']}, then {len(METHODS)} methods × {seeds} seeds.")
    launched = demo.students(task_id, demo.teacher(task), seeds)
    runs = ",".join(run for method in METHODS for run in launched[method])
    baseline = launched["supervised"][0]
    found = demo.get("compare/", runs=runs, baseline=baseline)
    demo.console.print(comparison_table(found))
    for line in found["verdicts"]:
        demo.console.print(f"[bold]{escape(line['label'])}[/bold]: {escape(line['text'])}")
    for warning in found["warnings"]:
        demo.console.print(f"Note: {warning}")
    demo.console.print(f"Compare: {demo.serving.services.url}/p/{PROJECT}/compare/?runs={runs}&baseline={baseline}", soft_wrap=True)
    demo.console.print(f"Sign in: {account.name}, password {account.password}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m webapp.demo", description="Trains a teacher and four students through the API, and compares them."
    )
    parser.add_argument("--task", default="digits", help="id of the task")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method, 1 to 5")
    parser.add_argument("--port", type=int, help="port of the web server; 8000 or the next free one")
    options = parser.parse_args(arguments)
    if not 1 <= options.seeds <= 5:
        parser.error(f"--seeds must be from 1 to 5; got {options.seeds}")
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        console.print("Starting servers, web and worker.")
        with stillhouse(host="127.0.0.1", port=options.port, say=console.print) as serving:
            account = make_account()
            headers = {"Authorization": f"Bearer {account.token}"}
            with httpx.Client(base_url=f"{serving.services.reached_at}/api/v1/", headers=headers, timeout=30) as client:
                show(Demo(client, console, serving), account, task_id=options.task, seeds=options.seeds)
            if console.is_terminal and sys.stdin.isatty():
                console.print("Serving until Ctrl-C.")
                serving.until_asked_to_stop()
    except Interrupted:
        return 130
    except (DemoError, ServeError, servers.ServersError, httpx.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
