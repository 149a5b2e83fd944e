"""A new kind of student is one declaration: with a task and a method of it, nothing else is touched, and everybody sees it."""

import json
from pathlib import Path

import pytest

from tests.engine.project_copy import ProjectCopy

KIND = '''
"""A sketch of points."""

from engine.spec.cards import KindCard, MetricCard

card = KindCard(
    id="sketch",
    order=50,
    title="sketch of points",
    summary="A network that draws a line through points.",
    judge="engine.tasks.toy_points.task:judge_sketch",
    metrics=(
        MetricCard("strokes", "Strokes", None, "How many lines the sketch has."),
        MetricCard("likeness", "Likeness", "higher", "One minus the mean distance of the points from their sketch."),
    ),
    headline=("likeness", "strokes"),
    columns=("strokes", "likeness"),
    charts=("sketch",),
)
'''

TASK_CARD = '''
"""Points to be sketched."""

from engine.spec.cards import Architecture, TaskCard, TaskOptions

card = TaskCard(
    id="toy-points",
    version=1,
    title="Toy points",
    summary="Twelve points.",
    kind="sketch",
    options=TaskOptions,
    input_shape=(1,),
    classes=None,
    train_rows=12,
    architectures={"line": Architecture("mlp", {"inputs": 1, "hidden": [2], "classes": 2}, "one hidden layer")},
    student="line",
    headline=("likeness",),
)
'''

TASK = '''
"""Twelve points on a parabola."""

import torch

from engine.models.build import build
from engine.tasks.task import Judgement, Split, Task
from engine.tasks.toy_points.card import card


class ToyPoints(Task):
    card = card

    def load(self):
        x = torch.linspace(-1, 1, 12)[:, None]
        return {name: Split(x, None) for name in ("train", "validation", "test")}

    def new_model(self, architecture, config):
        return build("mlp", config)


def judge_sketch(task, model, split, *, teacher, final):
    rows = task.splits[split].inputs
    distance = float((model(rows)[:, :1] - rows.square()).abs().mean())
    return Judgement({"likeness": 1 - distance, "strokes": 2.0})
'''

METHOD_CARD = '''
"""What a person chooses when sketching."""

from engine.spec.cards import TINY, MethodCard, Needs, TrainingSettings


class Settings(TrainingSettings):
    pass


card = MethodCard(
    id="sketching",
    version=1,
    family="test",
    title="Sketching",
    summary="Draws.",
    paper="",
    settings=Settings,
    student=Needs("sketch", trained_weights=False),
    presets={"small": TINY, "paper": TINY, "tiny": TINY},
    baseline=None,
    task="toy-points",
)
'''

METHOD = '''
"""Sketches by least squares."""

from engine.method import Method, Phase
from engine.methods.sketching.card import Settings, card


class Sketching(Method):
    card = card
    settings: Settings

    def build(self):
        self.optimizer = self.make_optimizer(self.student)

    def phases(self):
        yield Phase("draw", self.step, self.budget.steps)

    def step(self, batch):
        loss = (self.student(batch.inputs)[:, :1] - batch.inputs.square()).square().mean()
        self.update(self.optimizer, loss)
        return {"loss": loss}
'''

SHOWN_BY_THE_WEB = """
import json, os
import django
os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
django.setup()
from engine.metrics.cards import HEADLINE
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from webapp.runs.table.columns import TableState
spec = RunSpec.parse({"method": "sketching", "task": "toy-points"})
table = TableState(sort="-created", chosen=(), remembering=False).with_metrics(["strokes", "likeness"])
stored = catalog.kind_of(json.loads(spec.to_json()))
print(json.dumps({
    "kind": spec.kind,
    "headline": stored.headline,
    "in the table of models": HEADLINE["sketch"],
    "charts": stored.charts,
    "columns": [(column.id, column.head) for column in table.columns if column.metric],
}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """The project with a new kind, a task that judges it, and a method that makes it: new files only."""
    copy = ProjectCopy.make(tmp_path_factory.mktemp("kind") / "project")
    copy.write("engine/kinds/sketch.py", KIND)
    for folder, files in {
        "engine/tasks/toy_points": {"__init__.py": "", "card.py": TASK_CARD, "task.py": TASK},
        "engine/methods/sketching": {"__init__.py": "", "card.py": METHOD_CARD, "method.py": METHOD, "README.md": "# Sketching\n"},
    }.items():
        for name, text in files.items():
            copy.write(f"{folder}/{name}", text)
    return copy


def test_a_run_of_it_is_parsed_made_and_judged_by_what_it_declares(project: ProjectCopy, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"method": "sketching", "task": "toy-points", "budget": {"steps": 4}, "threads": 1}))

    ended = project.python(f"-m engine run {tmp_path}/spec.json --workdir {tmp_path}/run")

    assert ended.returncode == 0, ended.stderr
    assert "student on test: likeness 0." in ended.stderr
    assert json.loads((tmp_path / "run/student/model.json").read_text())["kind"] == "sketch"


def test_pages_and_the_table_of_runs_show_its_numbers_first(project: ProjectCopy) -> None:
    (project.folder / "shown.py").write_text(SHOWN_BY_THE_WEB)

    ended = project.python("shown.py")

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "kind": "sketch",
        "headline": ["likeness", "strokes"],
        "in the table of models": ["likeness", "strokes"],
        "charts": ["sketch"],
        "columns": [["strokes", "Strokes"], ["likeness", "Likeness"], ["parameters", "Parameters"]],
    }


def test_the_reference_describes_it(project: ProjectCopy) -> None:
    ended = project.python("-m docs.generate")

    assert ended.returncode == 0, ended.stderr
    page = (project.folder / "docs/reference/kinds.md").read_text()
    assert "## Sketch of points\n\n`sketch`: A network that draws a line through points." in page
    assert "Methods: [sketching](methods/sketching.md). Tasks: `toy-points`. Judged first by: likeness, strokes." in page
    assert "| `likeness` | Likeness | higher |" in (project.folder / "docs/reference/metrics.md").read_text()


def test_a_kind_that_nobody_declares_is_refused_where_the_catalog_is_read(project: ProjectCopy) -> None:
    (project.folder / "engine/kinds/sketch.py").rename(project.folder / "engine/kinds/sketch.txt")

    ended = project.python("-m engine tasks")
    (project.folder / "engine/kinds/sketch.txt").rename(project.folder / "engine/kinds/sketch.py")

    assert ended.returncode != 0
    assert "toy-points names the kind 'sketch', which no module of engine.kinds declares" in ended.stderr
