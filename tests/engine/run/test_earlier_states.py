"""A checkpoint that earlier code of a method wrote is read under today's names, if the method says how."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.events import Outcome
from engine.method import Batch, Logs, Method
from engine.run import checkpoint
from engine.run.serializer import StateSerializer, packed_dict, packed_items, unpack
from tests.engine.tiny import Plain, Watcher, run_tiny, student_bytes, tiny_spec


class Before(Plain):
    """Earlier code: the method counts its steps itself, and learns otherwise at each count."""

    def build(self) -> None:
        super().build()
        self.count = torch.zeros(())

    def counted(self) -> Tensor:
        return self.count.add_(1)

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.student(batch.inputs), batch.targets) * self.counted()
        self.update(self.optimizer, loss)
        return {"loss": loss}


class BeforeWithNotes(Before):
    def build(self) -> None:
        super().build()
        self.notes = "nobody knows them today"


class Counter:
    def __init__(self) -> None:
        self.count = torch.zeros(())

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.count.copy_(state["count"])


class Regrouped(Before):
    """Today's code, which does not say how the earlier state reads: an object counts."""

    def build(self) -> None:
        Plain.build(self)
        self.counter = Counter()

    def counted(self) -> Tensor:
        return self.counter.count.add_(1)


class Upgrading(Regrouped):
    """Today's code, which does."""

    @classmethod
    def upgraded_state(cls, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        if "count" not in saved:
            return saved
        kept = {name: state for name, state in saved.items() if name != "count"}
        return kept | {"counter": {"state_dict": packed_dict({"count": saved["count"]["value"]})}}


def resumed(folder: Path, *, written_by: type[Method], read_by: type[Method]) -> Outcome:
    watcher = Watcher()
    run_tiny(folder / "stopped", written_by, watcher=watcher, spec=tiny_spec(), stop=watcher.stop_after(5))
    return run_tiny(folder / "resumed", read_by, spec=tiny_spec(), resume=checkpoint.newest(folder / "stopped"))


@pytest.mark.parametrize("written_by", [Before, Upgrading])
def test_a_run_goes_on_from_an_earlier_state_and_from_todays_as_if_it_had_not_stopped(written_by: type[Method], tmp_path: Path) -> None:
    run_tiny(tmp_path / "whole", Before, spec=tiny_spec())

    outcome = resumed(tmp_path, written_by=written_by, read_by=Upgrading)

    assert outcome.status == "succeeded", outcome.reason
    assert student_bytes(tmp_path / "resumed") == student_bytes(tmp_path / "whole")


@pytest.mark.parametrize(
    ("written_by", "read_by", "name"),
    [(Before, Regrouped, "count"), (BeforeWithNotes, Upgrading, "notes"), (Plain, Upgrading, "counter")],
)
def test_a_name_that_the_method_does_not_know_is_refused(
    written_by: type[Method], read_by: type[Method], name: str, tmp_path: Path
) -> None:
    outcome = resumed(tmp_path, written_by=written_by, read_by=read_by)

    assert outcome.status == "failed"
    assert outcome.reason == f"The checkpoint was written by another version of plain: {name} is in only one of the two."


def test_a_packed_dict_is_taken_apart_and_made_without_unpacking_its_values() -> None:
    packer = StateSerializer()
    packed = packer.pack({"weight": torch.ones(2), "betas": (0.9, 0.99)}, "x")

    made = packed_dict({f"inner.{name}": value for name, value in packed_items(packed).items()})

    found = unpack(made, packer.tensors, torch.device("cpu"))
    assert list(found) == ["inner.weight", "inner.betas"]
    assert found["inner.weight"].tolist() == [1, 1]
    assert found["inner.betas"] == (0.9, 0.99)
