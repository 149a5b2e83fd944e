"""An exported model is whole: its weights, its records and what it says of itself, or a sentence about what is wrong."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.errors import ModelError
from engine.models.build import build
from engine.models.knowledge import KnowledgeBase, KnowledgeRecords
from engine.run.export import file_sha256, load_model, read_meta, save_model
from tests.engine.tiny import TinyTask

MLP = {"inputs": 4, "hidden": [5], "classes": 3}
TIED = {"vocabulary": 7, "width": 8, "layers": 1, "heads": 2, "positions": 16, "mlp_width": 8, "tied": True}


def meta(builder: str = "mlp", config: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    found = {"kind": "classifier", "task": "tiny", "builder": builder, "config": MLP if config is None else config, "architecture": "net"}
    return {**found, "classes": 3, "input_shape": [4], "method": "plain", **changes}


def exported(folder: Path, **changes: Any) -> nn.Module:
    model = build("mlp", MLP)
    save_model(folder, model, meta(**changes))
    return model


def rewritten(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as refusal:
        load_model(folder, **options)
    return str(refusal.value)


# Records


def knowing() -> KnowledgeBase:
    base = build("knowledge_base", {})
    assert isinstance(base, KnowledgeBase)
    base.replace(KnowledgeRecords(successes={"chop": 3, "größe": 1}))
    return base


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    save_model(tmp_path / "student", knowing(), meta("knowledge_base", {}, kind="knowledge", classes=None, input_shape=[]))
    return tmp_path / "student"


def test_a_model_without_weights_comes_back_by_its_records(knowledge: Path) -> None:
    loaded, content = load_model(knowledge)

    assert loaded.get_extra_state() == knowing().get_extra_state()
    assert json.loads((knowledge / "records.json").read_text(encoding="utf-8"))["successes"] == {"chop": 3, "größe": 1}
    assert content["parameters"] == 0
    assert load_file(knowledge / "model.safetensors") == {}


@pytest.mark.parametrize(
    "spoil",
    [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-3]), lambda path: path.write_text(path.read_text().replace("3", "4"))],
)
def test_records_that_are_missing_truncated_or_changed_are_refused(spoil: Any, knowledge: Path) -> None:
    spoil(knowledge / "records.json")

    assert refused(knowledge) == f"The model at {knowledge} is damaged: records.json is missing, truncated or was changed."


def test_records_of_something_else_are_refused_though_they_are_whole(knowledge: Path) -> None:
    (knowledge / "records.json").write_text('{"spells": []}')
    rewritten(knowledge / "model.json", records=file_sha256(knowledge / "records.json"))

    assert refused(knowledge) == "These are no records of a knowledge base: spells: Extra inputs are not permitted."


# Weights


def test_weights_that_are_tied_are_stored_once_and_are_one_again(tmp_path: Path) -> None:
    model = build("llama", TIED)
    save_model(tmp_path / "student", model, meta("llama", TIED, kind="causal-lm", classes=7, input_shape=[8]))

    loaded, content = load_model(tmp_path / "student")

    stored = load_file(tmp_path / "student/model.safetensors")
    ids = torch.arange(5)[None]
    assert torch.equal(loaded.eval()(ids), model.eval()(ids))
    assert sum(tensor.numel() for tensor in stored.values()) == content["parameters"] == sum(each.numel() for each in model.parameters())
    assert len({id(parameter) for parameter in loaded.parameters()}) == len(stored)


@pytest.mark.parametrize(("change", "name"), [({"3.bias": None}, "3.bias"), ({"extra": torch.ones(1)}, "extra")])
def test_a_tensor_that_is_missing_or_too_many_is_named(change: dict[str, Any], name: str, tmp_path: Path) -> None:
    exported(tmp_path / "student")
    file = tmp_path / "student/model.safetensors"
    save_file({key: tensor for key, tensor in {**load_file(file), **change}.items() if tensor is not None}, file)
    rewritten(tmp_path / "student/model.json", sha256=file_sha256(file))

    assert (
        refused(tmp_path / "student")
        == f"The weights at {tmp_path / 'student'} do not fit its model.json: {name} is in only one of the two."
    )


def test_an_older_export_without_a_hash_is_read(tmp_path: Path) -> None:
    model = exported(tmp_path / "student")
    content = json.loads((tmp_path / "student/model.json").read_text())
    del content["sha256"]
    (tmp_path / "student/model.json").write_text(json.dumps(content))

    loaded, _ = load_model(tmp_path / "student")

    assert torch.equal(loaded(torch.ones(1, 4)), model(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ([1], "can't be built from 'mlp' with its config: "),
        ({"inputs": 4}, "configuration of mlp does not fit at 'hidden'"),
    ],
)
def test_a_configuration_that_builds_nothing_is_no_traceback(config: Any, part: str, tmp_path: Path) -> None:
    exported(tmp_path / "student")
    rewritten(tmp_path / "student/model.json", config=config)

    assert part in refused(tmp_path / "student")


# What it says of itself


def test_what_a_run_says_more_of_its_student_is_kept_beside_what_each_model_says(tmp_path: Path) -> None:
    exported(tmp_path / "student", spec={"seed": 3}, learned_from=[])

    content = read_meta(tmp_path / "student")

    assert {name: content[name] for name in ("spec", "learned_from", "parameters", "architecture")} == {
        "spec": {"seed": 3},
        "learned_from": [],
        "parameters": 43,
        "architecture": "net",
    }
    assert content["sha256"] == file_sha256(tmp_path / "student/model.safetensors")
    assert "records" not in content


def test_an_export_that_can_not_be_finished_leaves_the_one_before_it(tmp_path: Path) -> None:
    model = exported(tmp_path / "student")
    incomplete = {name: value for name, value in meta().items() if name != "classes"}

    with pytest.raises(KeyError):
        save_model(tmp_path / "student", build("mlp", MLP), incomplete)
    again, _ = load_model(tmp_path / "student")
    exported(tmp_path / "student")

    assert torch.equal(again(torch.ones(1, 4)), model(torch.ones(1, 4)))
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


@pytest.mark.parametrize(
    ("changes", "foreign", "sentence"),
    [
        ({"classes": 7}, False, "has 7 classes; the task tiny has 3."),
        ({"classes": 7}, True, None),
        ({"classes": 7, "task": "elsewhere"}, True, None),
        ({"input_shape": [5]}, True, "takes inputs of shape [5]; those of the task tiny have [4]."),
        ({"kind": "scene"}, True, "is a scene; the task tiny asks for a classifier."),
        ({"kind": "x" * 60}, True, f"is a {'x' * 40}; the task tiny asks for a classifier."),
    ],
)
def test_a_foreign_model_may_have_other_classes_and_nothing_else(
    changes: dict[str, Any], foreign: bool, sentence: str | None, tmp_path: Path
) -> None:
    exported(tmp_path / "student", **changes)

    if sentence is None:
        load_model(tmp_path / "student", card=TinyTask.card, foreign=foreign)
    else:
        assert refused(tmp_path / "student", card=TinyTask.card, foreign=foreign) == f"The model at {tmp_path / 'student'} {sentence}"


def test_a_model_of_one_of_several_kinds_is_taken_and_the_sentence_names_them_all(tmp_path: Path) -> None:
    card = dataclasses.replace(TinyTask.card, also=("dataset", "scene"))
    exported(tmp_path / "scene", kind="scene")
    exported(tmp_path / "other", kind="denoiser")

    load_model(tmp_path / "scene", card=card)

    assert refused(tmp_path / "other", card=card).endswith("is a denoiser; the task tiny asks for a classifier or dataset or scene.")


def test_weights_beside_a_pickle_of_somebody_are_read_and_the_pickle_is_not(tmp_path: Path) -> None:
    exported(tmp_path / "student")
    (tmp_path / "student/optimizer.pt").write_bytes(b"\x80\x04whatever")

    load_model(tmp_path / "student")

    (tmp_path / "student/model.json").unlink()
    assert refused(tmp_path / "student").startswith("optimizer.pt is a pickle, which can run code when it is opened; ")
