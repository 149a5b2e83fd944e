"""Evaluations of a run: the student at the cadence and at the end, its teacher once per split. Judging changes nothing in the run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from engine.events import STEPS, Activity, Evaluation, Event, Metrics
from engine.method import Diagnostics
from engine.run.assembly import Assembly
from engine.run.state import modules_of
from engine.seeds import undisturbed
from engine.tasks.task import Judgement

VALIDATION, TEST = "validation", "test"


class Judge:
    """Judges a run's models and emits what it finds. `teacher_judged` holds the splits on which the teacher's result was already emitted."""

    def __init__(self, run: Assembly, emit: Callable[[Event], None], teacher_judged: Iterable[str] = ()) -> None:
        self._run, self._emit = run, emit
        self.teacher_judged = list(teacher_judged)

    def validate(self, step: int) -> None:
        """What is looked at during training, between two steps: validation rows, never the test rows."""
        self._emit(Activity("an evaluation"))
        self._judge_teacher(VALIDATION, step)
        self._judge_student(VALIDATION, step, final=False)
        self._emit(Activity(STEPS))

    def evaluate_at_end(self, step: int) -> None:
        """The final evaluation, the only one that sees the test rows."""
        for split in (VALIDATION, TEST):
            self._judge_teacher(split, step)
            self._judge_student(split, step, final=True)

    def _judge_student(self, split: str, step: int, *, final: bool) -> None:
        method = self._run.method
        with _evaluation_mode(self._run):
            judgement = self._run.task.judge(method.product(), split, teacher=method.reference(), final=final)
            diagnostics = method.diagnostics() if split == VALIDATION else Diagnostics()
        self._emit_evaluation("student", split, step, judgement, diagnostics, final=final)
        if split == VALIDATION:
            self._emit(Metrics(step, self._series(judgement, diagnostics)))
            method.judged(judgement.metrics, final=final)

    def _judge_teacher(self, split: str, step: int) -> None:
        """Once per split, in full: a frozen teacher is at its end from the start. One that is trained has no result of its own."""
        method = self._run.method
        teacher, needs = method.reference(), method.card.teachers
        if teacher is None or split in self.teacher_judged or (needs is not None and needs.access == "trained"):
            return
        with _evaluation_mode(self._run):
            judgement = self._run.task.judge(teacher, split, teacher=None, final=True)
        self._emit_evaluation("teacher", split, step, judgement, Diagnostics(), final=True)
        self.teacher_judged.append(split)

    def _emit_evaluation(self, subject: str, split: str, step: int, judgement: Judgement, diagnostics: Diagnostics, *, final: bool) -> None:
        metrics = {**judgement.metrics, **diagnostics.metrics}
        tables = {**judgement.tables, **diagnostics.tables}
        self._emit(Evaluation(step, subject, split, final, metrics, tables))  # type: ignore[arg-type]

    def _series(self, judgement: Judgement, diagnostics: Diagnostics) -> dict[str, float]:
        series = {f"{VALIDATION}/{name}": value for name, value in judgement.metrics.items()}
        series |= {f"diagnostics/{name}": value for name, value in diagnostics.metrics.items()}
        rates = self._run.method.learning_rates
        series |= {"learning_rate" if len(rates) == 1 else f"learning_rate/{name}": rate for name, rate in rates.items()}
        return {name: float(value) for name, value in series.items() if value is not None}


@contextmanager
def _evaluation_mode(run: Assembly) -> Iterator[None]:
    """Eval mode and no gradient inside; afterwards all modes and generators are as before, so that judging more often trains the same."""
    modes: list[tuple[nn.Module, bool]] = [(part, part.training) for module in modules_of(run.method) for part in module.modules()]
    product = run.method.product()
    modes += [(part, part.training) for part in product.modules()]
    try:
        for part, _ in modes:
            part.training = False
        generator = run.method.generator.get_state()
        with torch.no_grad(), undisturbed(run.device):
            yield
    finally:
        run.method.generator.set_state(generator)
        for part, mode in modes:
            part.training = mode
