"""Every method on a GPU, in full precision and in bfloat16. Where there is no GPU these tests are left out, and the session says how many."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import SpecError
from engine.events import Evaluation, Metrics
from engine.method import Method
from engine.spec import catalog
from engine.spec.cards import MethodCard
from engine.spec.run_spec import RunSpec
from tests.engine.test_every_method import METHODS, Bench, models_of, steps_to_interrupt
from tests.engine.tiny import Watcher


def offered(card: MethodCard, precision: str) -> bool:
    """Whether the method takes this precision: some need all bits."""
    tiny = card.presets["tiny"]
    fields = {"method": card.id, "task": card.task, "settings": dict(tiny.settings), "budget": dict(tiny.budget), **models_of(card)}
    try:
        RunSpec.parse({**fields, "precision": precision})
    except SpecError as refusal:
        if [problem.field for problem in refusal.problems] == ["precision"]:
            return False
        raise
    return True


ON_A_GPU = [(card, precision) for card in METHODS for precision in ("float32", "bfloat16") if offered(card, precision)]
every_method_on_a_gpu = pytest.mark.parametrize(("card", "precision"), ON_A_GPU, ids=[f"{card.id}-{name}" for card, name in ON_A_GPU])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda")


class Caught:
    """A method's class that hands over what is made of it: the run's state, and where the run is without waiting for what it reports."""

    def __init__(self, card: MethodCard) -> None:
        self.made: list[Method] = []
        made, parent = self.made, catalog.load_method(card.id)

        class Child(parent):  # type: ignore[misc, valid-type]
            def build(self) -> None:
                super().build()
                made.append(self)

        self.method_class: type[Method] = Child

    @property
    def method(self) -> Method:
        [method] = self.made
        return method

    def after(self, step: int) -> bool:
        """Whether so many steps are done."""
        return bool(self.made) and self.method.position.step >= step


def tensors_of(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """All tensors in a value of a method's state, with their paths."""
    match value:
        case Tensor():
            yield path, value
        case nn.Module():
            for name, tensor in [*value.named_parameters(), *value.named_buffers()]:
                yield f"{path}.{name}", tensor
        case Optimizer():
            for place, state in enumerate(value.state.values()):
                yield from tensors_of(state, f"{path}.{place}")
        case dict():
            for key, item in value.items():
                yield from tensors_of(item, f"{path}.{key}")
        case list() | tuple():
            for place, item in enumerate(value):
                yield from tensors_of(item, f"{path}.{place}")


def left_on_the_cpu(method: Method) -> list[str]:
    """Tensors of the method's and its teachers' state that are not on the run's device. A single number may be on the CPU: some optimizers
    count their steps there. So may what holds no number yet."""
    held = {name: value for name, value in vars(method).items() if name not in Method.OWN} | {"teachers": method.teachers}
    found = [(path, tensor) for name, value in held.items() for path, tensor in tensors_of(value, name)]
    return [path for path, tensor in found if tensor.dim() > 0 and tensor.numel() > 0 and tensor.device.type != method.device.type]


def not_finite(watcher: Watcher) -> list[str]:
    """Numbers reported by the run that are NaN or infinite; an undefined one is None."""
    reported = [(event.step, event.values) for event in watcher.of(Metrics)] + [
        (event.step, event.metrics) for event in watcher.of(Evaluation)
    ]
    return [
        f"{name} at step {step}"
        for step, values in reported
        for name, value in values.items()
        if value is not None and not math.isfinite(value)
    ]


@pytest.mark.gpu
@every_method_on_a_gpu
def test_a_run_on_a_gpu_keeps_its_state_there_tells_finite_numbers_and_goes_on_from_a_checkpoint_in_each_phase(
    card: MethodCard, precision: str, folder: Path, tmp_path: Path
) -> None:
    bench, whole, caught = Bench(card, folder), Watcher(), Caught(card)
    spec = bench.spec(device="cuda", precision=precision)

    assert bench.run(tmp_path / "whole", spec, whole, method_class=caught.method_class).status == "succeeded"

    assert left_on_the_cpu(caught.method) == []
    assert not_finite(whole) == []
    for step in steps_to_interrupt(whole):
        stopped, after, first = tmp_path / f"stopped-{step}", Watcher(), Caught(card)
        bench.run(stopped, spec, method_class=first.method_class, stop=lambda first=first, step=step: first.after(step))
        second = Caught(card)
        outcome = bench.run(stopped, spec, after, method_class=second.method_class, resume=stopped / f"checkpoints/step-{step:09d}")
        assert outcome.status == "succeeded"
        assert [reported for reported, _ in after.terms()] == [reported for reported, _ in whole.terms() if reported > step]
        assert left_on_the_cpu(second.method) == []
        assert not_finite(after) == []


def test_without_a_gpu_the_session_says_how_many_tests_it_leaves_out() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"Left out: {len(ON_A_GPU)} tests for a GPU; this machine has none that torch can use." in ended.stdout.splitlines()
    assert f"collected {len(ON_A_GPU) + 1} items / {len(ON_A_GPU)} deselected / 1 selected" in ended.stdout.splitlines()
