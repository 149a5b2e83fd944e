"""What a method leaves for people: whole files with their hash, taken over by a resumed run or refused."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CheckpointError
from engine.events import Artifact, Event
from engine.run.artifacts import ArtifactWriter, facts_of


def writer(workdir: Path) -> tuple[ArtifactWriter, list[Event]]:
    workdir.mkdir(exist_ok=True)
    events: list[Event] = []
    return ArtifactWriter(workdir, events.append), events


def left_in(workdir: Path) -> list[str]:
    """A table and tensors, as an interrupted run left them."""
    one, _ = writer(workdir)
    one.save_table("seen", {"rows": [1, 2]})
    one.save_tensors("cache", {"logits": torch.eye(3)}, {"temperature": 4})
    return one.names


def test_a_table_is_reported_with_its_place_its_bytes_and_their_hash(tmp_path: Path) -> None:
    one, events = writer(tmp_path)

    one.save_table("by-class_2", {"é": [1.5, None]})

    data = (tmp_path / "tables/by-class_2.json").read_bytes()
    assert json.loads(data) == {"é": [1.5, None]}
    assert events == [Artifact("by-class_2", "table", "tables/by-class_2.json", len(data), hashlib.sha256(data).hexdigest(), {})]


def test_tensors_are_stored_as_numbers_whatever_memory_they_are_views_of(tmp_path: Path) -> None:
    one, events = writer(tmp_path)
    whole = torch.arange(12.0).view(3, 4).requires_grad_()

    one.save_tensors("parts", {"turned": whole.T, "column": whole[:, 1], "none": torch.empty(0, 2)}, {"of": "x"})

    stored = load_file(tmp_path / "tensors/parts.safetensors")
    facts = {"shapes": {"turned": [4, 3], "column": [3], "none": [0, 2]}, "of": "x"}
    assert {name: tensor.tolist() for name, tensor in stored.items()} == {"turned": whole.T.tolist(), "column": [1, 5, 9], "none": []}
    [reported] = [event.meta for event in events if isinstance(event, Artifact)]
    assert reported == facts == facts_of(tmp_path / "tensors/parts.safetensors")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_does_not_have_is_refused_and_nothing_is_left(value: float, tmp_path: Path) -> None:
    one, events = writer(tmp_path)

    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        one.save_table("table", [value])
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        one.save_tensors("tensors", {"x": torch.ones(1)}, {"fact": value})

    assert events == []
    assert one.names == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../up", "a/b", "a.b", "", "-", "a b"])
def test_a_name_that_could_lead_elsewhere_is_the_authors_mistake(name: str, tmp_path: Path) -> None:
    one, _ = writer(tmp_path)

    with pytest.raises(AssertionError, match=r"^an artifact's name has letters, digits, - and _; got "):
        one.save_table(name, [])


def test_an_artifact_that_is_left_again_is_reported_again_and_remembered_once(tmp_path: Path) -> None:
    one, events = writer(tmp_path)

    one.save_table("z", [1])
    one.save_table("a", [1])
    one.save_table("z", [1, 2, 3])
    one.save_tensors("a", {"x": torch.ones(1)}, {})

    assert one.names == ["a", "a.safetensors", "z"]
    assert [event.bytes for event in events if isinstance(event, Artifact) and event.name == "z"] == [3, 9]


@pytest.mark.parametrize("place", ["elsewhere", "the same"])
def test_a_resumed_run_has_what_was_left_and_reports_it_again(place: str, tmp_path: Path) -> None:
    names = left_in(tmp_path / "first")
    workdir = tmp_path / ("first" if place == "the same" else "second")
    one, events = writer(workdir)

    one.take_over(names, tmp_path / "first")

    assert one.names == names == ["cache.safetensors", "seen"]
    assert [(event.name, event.kind, event.path, event.meta) for event in events if isinstance(event, Artifact)] == [
        ("cache", "tensors", "tensors/cache.safetensors", {"shapes": {"logits": [3, 3]}, "temperature": 4}),
        ("seen", "table", "tables/seen.json", {}),
    ]
    for path in ("tensors/cache.safetensors", "tables/seen.json"):
        assert (workdir / path).read_bytes() == (tmp_path / "first" / path).read_bytes()


@pytest.mark.parametrize(
    ("file", "spoil", "name"),
    [
        ("tables/seen.json", Path.unlink, "seen"),
        ("tables/seen.json", lambda path: path.write_text('{"rows": [1,'), "seen"),
        ("tensors/cache.safetensors", Path.unlink, "cache"),
        ("tensors/cache.safetensors", lambda path: path.write_bytes(path.read_bytes()[:20]), "cache"),
    ],
)
def test_what_is_missing_or_damaged_can_not_be_taken_over(file: str, spoil: Any, name: str, tmp_path: Path) -> None:
    names = left_in(tmp_path / "first")
    spoil(tmp_path / "first" / file)
    one, events = writer(tmp_path / "second")

    with pytest.raises(CheckpointError) as refusal:
        one.take_over(names, tmp_path / "first")

    assert str(refusal.value).startswith(f"The artifact {name} that the run left in {tmp_path / 'first'} can't be read: ")
    assert name not in [event.name for event in events if isinstance(event, Artifact)]


def test_tensors_of_another_program_have_no_facts(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "bare.safetensors")
    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors", {"format": "pt"})

    assert facts_of(tmp_path / "bare.safetensors") == facts_of(tmp_path / "other.safetensors") == {}
