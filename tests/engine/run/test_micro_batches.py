"""A batch in pieces learns what the whole batch learns, and a step is one step however many pieces it had."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from engine.method import Batch, Logs
from tests.engine.tiny import Plain, Watcher, run_tiny, tiny_card, tiny_spec


class Counts(Plain):
    """Reports how many rows a piece had, their sum, and where it stood when it was asked."""

    card = tiny_card("counts")
    asked: list[list[float]] = []

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.student(batch.inputs), batch.targets)
        self.update(self.optimizer, loss)
        micro = self._context.micro
        self.asked.append([self.position.step, len(batch), micro.weight, float(micro.last)])
        return {"loss": loss, "mean": batch.inputs.mean(), "rows": torch.tensor(float(len(batch)))}


def asked_with(pieces: int, workdir: Path, **settings: Any) -> tuple[list[list[float]], Watcher]:
    method, watcher = type("Counts", (Counts,), {"asked": []}), Watcher()
    options = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 0.1, "gradient_accumulation_steps": pieces, **settings}
    outcome = run_tiny(workdir, method, watcher=watcher, spec=tiny_spec(method, steps=6, settings=options))
    assert outcome.status == "succeeded", outcome.reason
    return method.asked, watcher


@pytest.mark.parametrize(
    ("pieces", "of_eight", "of_four"),
    [
        (1, [8], [4]),
        (2, [4, 4], [2, 2]),
        (3, [3, 3, 2], [2, 2]),
        (5, [2, 2, 2, 2], [1, 1, 1, 1]),
        (64, [1] * 8, [1] * 4),
    ],
)
def test_a_batch_is_cut_into_at_most_so_many_pieces_and_the_last_one_is_told(
    pieces: int, of_eight: list[int], of_four: list[int], tmp_path: Path
) -> None:
    asked, _ = asked_with(pieces, tmp_path)

    for step, sizes in enumerate([of_eight, of_eight, of_four] * 2):
        found = [entry[1:] for entry in asked if entry[0] == step]
        assert [rows for rows, _, _ in found] == sizes
        assert [weight for _, weight, _ in found] == pytest.approx([size / sum(sizes) for size in sizes])
        assert [last for _, _, last in found] == [0.0] * (len(sizes) - 1) + [1.0]


@pytest.mark.parametrize("pieces", [2, 3, 5, 64])
@pytest.mark.parametrize("settings", [{}, {"gradient_clip": 0.01}, {"optimizer": "adamw"}], ids=str)
def test_pieces_of_unequal_size_lead_to_the_weights_of_the_whole_batch(pieces: int, settings: dict[str, Any], tmp_path: Path) -> None:
    _, whole = asked_with(1, tmp_path / "whole", **settings)
    _, cut = asked_with(pieces, tmp_path / "cut", **settings)

    first, second = (load_file(tmp_path / name / "student/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.allclose(first[name], second[name], rtol=0, atol=2e-6) for name in first)
    for (_, one), (_, other) in zip(whole.terms(), cut.terms(), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["mean"] == pytest.approx(one["mean"], abs=1e-6)


def test_a_term_is_the_mean_over_rows_of_the_pieces_terms(tmp_path: Path) -> None:
    """Three pieces of 3, 3 and 2 rows: the mean over the rows of their sizes is (9 + 9 + 4) / 8."""
    _, watcher = asked_with(3, tmp_path)

    assert [values["rows"] for _, values in watcher.terms()] == pytest.approx([2.75, 2.75, 2.0] * 2)


class FailsInAPiece(Counts):
    card = tiny_card("fails-in-a-piece")

    def step(self, batch: Batch) -> Logs:
        if self._context.micro.last:
            raise ValueError("the last piece")
        return super().step(batch)


def test_after_an_error_in_a_piece_the_next_batch_is_whole_again(tmp_path: Path) -> None:
    held: list[Any] = []
    build = FailsInAPiece.build
    method = type("FailsInAPiece", (FailsInAPiece,), {"asked": [], "build": lambda self: held.append(self._context.micro) or build(self)})

    outcome = run_tiny(tmp_path, method, spec=tiny_spec(method, settings={"gradient_accumulation_steps": 2}))

    assert outcome.reason == "The method failed at step 1 of phase train: ValueError: the last piece"
    assert (held[0].weight, held[0].last) == (1.0, True)
