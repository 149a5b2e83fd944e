"""A task of forty rows and methods that exist only to be run by tests. A run of them takes milliseconds."""

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.events import Event, Metrics, Outcome
from engine.method import Batch, Logs, Method, Phase
from engine.models.build import build
from engine.run.runner import execute
from engine.spec.cards import Architecture, MethodCard, Needs, Preset, TaskCard, TaskOptions, TrainingSettings
from engine.spec.run_spec import Budget, ModelRef, RunSpec
from engine.tasks.task import Judgement, Split, Task

ROWS, FEATURES, CLASSES, BATCH = 20, 4, 3, 8  # three batches an epoch, the last of four rows


class TinyTask(Task):
    card = TaskCard(
        id="tiny",
        version=1,
        title="Tiny",
        summary="Twenty rows.",
        kind="classifier",
        options=TaskOptions,
        input_shape=(FEATURES,),
        classes=CLASSES,
        train_rows=ROWS,
        architectures={
            "net": Architecture("mlp", {"inputs": FEATURES, "hidden": [5], "classes": CLASSES}, "one hidden layer", ("teacher", "student"))
        },
        student="net",
        teacher="net",
        teacher_preset=Preset(""),
        headline=("accuracy",),
    )

    def load(self) -> dict[str, Split]:
        generator = torch.Generator().manual_seed(7)
        sizes = {"train": ROWS, "validation": 10, "test": 10}
        inputs = {name: torch.randn(rows, FEATURES, generator=generator) for name, rows in sizes.items()}
        return {name: Split(rows, rows[:, :CLASSES].argmax(dim=1)) for name, rows in inputs.items()}

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        return build("mlp", config)

    def judge(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        assert not any(part.training for part in model.modules()), "a model is judged in eval mode"
        assert not torch.is_grad_enabled(), "a model is judged without gradient"
        torch.rand(3), random.random(), np.random.rand()  # judging may draw; training must not notice
        rows = self.splits[split]
        logits = model(rows.inputs)
        metrics: dict[str, float | None] = {"accuracy": float((logits.argmax(dim=1) == rows.targets).float().mean()), "undefined": None}
        if teacher is not None:
            metrics["agreement"] = float((logits.argmax(dim=1) == teacher(rows.inputs).argmax(dim=1)).float().mean())
        return Judgement(metrics, {"split": split})


class TinySettings(TrainingSettings):
    batch_size: int = BATCH


def tiny_card(method_id: str, *, teachers: Needs | None = None) -> MethodCard:
    return MethodCard(
        id=method_id,
        version=1,
        family="test",
        title=method_id,
        summary="",
        paper="",
        settings=TinySettings,
        student=Needs("classifier", trained_weights=False),
        teachers=teachers,
        presets={},
    )


class Plain(Method):
    """Cross-entropy in one phase."""

    card = tiny_card("plain")
    settings: TinySettings

    def build(self) -> None:
        self.optimizer = self.make_optimizer(self.student)

    def phases(self) -> Iterator[Phase]:
        yield Phase("train", self.step, self.budget.steps)

    def step(self, batch: Batch) -> Logs:
        loss = F.cross_entropy(self.student(batch.inputs), batch.targets)
        self.update(self.optimizer, loss)
        return {"loss": loss}


class Taught(Plain):
    """Matches its one teacher."""

    card = tiny_card("taught", teachers=Needs("classifier", trained_weights=False))

    def step(self, batch: Batch) -> Logs:
        teacher_probs = self.teacher(batch.inputs).softmax(dim=1)
        loss = F.cross_entropy(self.student(batch.inputs), teacher_probs)
        self.update(self.optimizer, loss)
        return {"loss": loss, "loss/teacher": loss}


class Norm(nn.Module):
    """Keeps a count in a buffer that its own state_dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, CLASSES))
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.layers(inputs) * (1 + 0.01 * self.calls)


class Everything(Method):
    """All kinds of state at once: two networks with their own optimizers and cadence, a moving average, per-example memory, generators of
    every library, a trained tensor, numbers and lists, freezing and modes by phase, a phase with no gradient, a batch source."""

    card = tiny_card("everything")
    settings: TinySettings

    def build(self) -> None:
        self.critic = Norm()
        self.average = build("mlp", {"inputs": FEATURES, "hidden": [5], "classes": CLASSES}).requires_grad_(False)
        self.average.load_state_dict(self.student.state_dict())
        self.point = torch.zeros(FEATURES, requires_grad=True)
        self.optimizer = self.make_optimizer(self.student)
        self.critic_optimizer = self.make_optimizer(self.critic, steps=100)
        self.point_optimizer = torch.optim.SGD([self.point], lr=0.1, momentum=0.9)
        self.bank = torch.zeros(ROWS, CLASSES)
        self.noise = torch.Generator().manual_seed(3)
        self.history: list[Any] = []
        self.counts = {"begun": 0, "ended": 0}
        self.scale: Tensor | None = None
        self.array = np.zeros(3)

    def phases(self) -> Iterator[Phase]:
        yield Phase("warm", self.warm_step, 4, batch_size=6, begin=self.begin_warm, end=self.end_warm)
        yield Phase("count", self.count_step, 2, data=None)
        yield Phase("dream", self.dream_step, 3, data=self.dreams)
        yield Phase("train", self.train_step, self.budget.steps - 9, begin=self.begin_train, end=self.end_train)

    def begin_warm(self) -> None:
        self.counts["begun"] += 1
        self.save_table("first", [1, 2])

    def warm_step(self, batch: Batch) -> Logs:
        logits = self.critic(batch.inputs)
        loss = F.cross_entropy(logits, batch.targets)
        self.update(self.critic_optimizer, loss)
        self.bank[batch.index] = logits.detach().softmax(dim=1)
        return {"loss/critic": loss}

    def end_warm(self) -> None:
        self.counts["ended"] += 1
        self.scale = torch.rand((), generator=self.generator)

    def count_step(self, batch: Batch) -> Logs:
        assert len(batch) == 0
        self.array[self.position.phase_step] = random.random() + np.random.rand()
        self.history.append([self.position.step, torch.rand(2)])
        return {"drawn": torch.rand(())}

    def dreams(self, step: int, generator: torch.Generator) -> Batch:
        inputs = torch.randn(5, FEATURES, generator=generator)
        return Batch(inputs, None, torch.arange(5))

    def dream_step(self, batch: Batch) -> Logs:
        loss = (self.point - batch.inputs.mean(dim=0)).square().sum()
        loss.backward()
        self.point_optimizer.step()
        self.point_optimizer.zero_grad()
        return {"loss/point": loss}

    def begin_train(self) -> None:
        self.counts["begun"] += 1
        self.critic.eval()
        self.critic.layers[0].requires_grad_(False)

    def train_step(self, batch: Batch) -> Logs:
        assert self.scale is not None
        noise = torch.randn(batch.inputs.shape, generator=self.noise)
        logits = F.dropout(self.student(batch.inputs + 0.1 * noise + self.point.detach()), 0.2)
        target = 0.5 * F.one_hot(batch.targets, CLASSES) + 0.5 * self.bank[batch.index]
        loss = F.cross_entropy(logits, target) + self.scale * self.critic(batch.inputs).square().mean() * random.random()
        self.update(self.optimizer, loss)
        if self.position.step % 2:
            self.update(self.critic_optimizer, F.cross_entropy(self.critic(batch.inputs), batch.targets) * np.random.rand())
        with torch.no_grad():
            for slow, fast in zip(self.average.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast, 0.1)
        self.bank[batch.index] = logits.detach().softmax(dim=1)
        return {"loss": loss, "loss/critic": loss}

    def end_train(self) -> None:
        self.counts["ended"] += 1

    def finish(self) -> None:
        assert self.counts == {"begun": 2, "ended": 2}, f"each began and ended once; counted {self.counts}"
        bank = {"bank": self.bank.tolist(), "calls": float(self.critic.calls), "array": self.array.tolist(), "point": self.point.tolist()}
        self.save_table(
            "state", {**bank, "average": [parameter.tolist() for parameter in self.average.parameters()], "history": len(self.history)}
        )


class Watcher:
    """Collects a run's events. `at` maps a step to what is done when that step's terms arrive."""

    def __init__(self, at: Mapping[int, Callable[[], None]] | None = None) -> None:
        self.events: list[Event] = []
        self._at = dict(at or {})

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Metrics) and not any(name.startswith("validation/") for name in event.values):
            self._at.pop(event.step, lambda: None)()

    def stop_after(self, step: int) -> Callable[[], bool]:
        """Asks a run to stop when so many steps were logged."""
        return lambda: len(self.terms()) >= step

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def terms(self) -> list[tuple[int, dict[str, float]]]:
        """The loss terms by step, in the order in which they came."""
        return [
            (event.step, dict(event.values))
            for event in self.of(Metrics)
            if not any(name.startswith("validation/") for name in event.values)
        ]


class Killed(BaseException):
    """The process dies here: nothing in the engine catches it."""


def kill() -> None:
    raise Killed


def tiny_spec(method_class: type[Method] = Plain, *, steps: int = 12, **fields: Any) -> RunSpec:
    """A spec for a method and task that are not in the catalog."""
    fields = {"budget": Budget(steps=steps), "student": ModelRef(name="net"), "threads": 1, **fields}
    return RunSpec(method=method_class.card.id, method_version=1, task="tiny", **fields)


def run_tiny(
    workdir: Path,
    method_class: type[Method] = Plain,
    *,
    watcher: Watcher | None = None,
    spec: RunSpec | None = None,
    task_class: type[Task] = TinyTask,
    **options: Any,
) -> Outcome:
    """Makes a run of a tiny method on the tiny task."""
    spec = spec or tiny_spec(method_class)
    return execute(spec, watcher or Watcher(), workdir, method_class=method_class, task_class=task_class, **options)


def student_bytes(workdir: Path) -> bytes:
    """The exported weights, to the bit, and the records of a student that has none."""
    weights, records = (workdir / "student" / name for name in ("model.safetensors", "records.json"))
    return weights.read_bytes() + (records.read_bytes() if records.is_file() else b"")
