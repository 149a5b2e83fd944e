"""Small language models in float64 and a task of a few letters, for methods that train on text."""

from collections.abc import Mapping
from typing import Any

import torch

from engine.method import Length, Method, MicroBatch, Position, RunContext
from engine.models.build import build
from engine.models.language import CausalLM
from engine.run.state import seal
from engine.spec import catalog
from engine.tasks.language import LanguageTask
from engine.tasks.task import Split
from engine.tasks.vocabulary import Characters

LETTERS, WINDOW = "abcd", 8
TEXT = "abcdabdcaabbccddbadcabcadbcdacbdabcdcbadbcda" * 20


class Letters(LanguageTask):
    """A text of four letters and one id for others; the same in every split."""

    card = catalog.tasks()["stdlib-text"]
    window = WINDOW

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.vocabulary = Characters(LETTERS)
        self.tokens = {split: self.vocabulary.encode(TEXT) for split in ("train", "validation", "test")}
        self.splits = {
            split: Split(tokens[:-1].unfold(0, WINDOW, 1), tokens[1:].unfold(0, WINDOW, 1)) for split, tokens in self.tokens.items()
        }


def gpt2(seed: int, *, width: int = 8, layers: int = 1) -> CausalLM:
    """A GPT-2 in float64 for five words."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build("gpt2", {"vocabulary": 5, "width": width, "layers": layers, "heads": 2, "positions": 32}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)  # far enough from uniform for differences to show
    assert isinstance(model, CausalLM)
    return model


def network(seed: int) -> CausalLM:
    """A GPT-2 in float64 for the characters of stdlib-text."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found = build("gpt2", {"vocabulary": Letters.card.classes, "width": 8, "layers": 1, "heads": 2, "positions": 64}).double()
        for parameter in found.parameters():
            parameter.data *= 6
    assert isinstance(found, CausalLM)
    return found


def table(seed: int, vocabulary: int = 5) -> CausalLM:
    """A bigram table of random logits in float64."""
    model = build("bigram", {"vocabulary": vocabulary, "positions": 64}).double()
    with torch.no_grad():
        model.body.table.copy_(torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    assert isinstance(model, CausalLM)
    return model


def new_language_method(
    method_id: str,
    settings: Mapping[str, Any],
    *,
    student: CausalLM | None = None,
    teachers: tuple[CausalLM, ...] | None = None,
    steps: int = 6,
    seed: int = 0,
) -> tuple[Method, list[Any]]:
    """Built and sealed as the runner does it, and the list that all it tells goes into: texts, (name, content), (name, tensors, facts)."""
    method_class = catalog.load_method(method_id)
    teachers = teachers or (gpt2(2),)
    for teacher in teachers:
        teacher.eval().requires_grad_(False)
    reported: list[Any] = []
    method = method_class(
        RunContext(
            task=Letters(),
            settings=method_class.card.settings.model_validate(dict(settings)),
            student=student or gpt2(1),
            teachers=teachers,
            budget=Length(steps, steps),
            device=torch.device("cpu"),
            generator=torch.Generator().manual_seed(seed),
            position=Position(),
            micro=MicroBatch(),
            log=reported.append,
            save_table=lambda name, content: reported.append((name, content)),
            save_tensors=lambda name, tensors, meta: reported.append((name, {key: each.clone() for key, each in tensors.items()}, meta)),
        )
    )
    method.build()
    seal(method)
    return method, reported


def play(method: Method, *, seed: int = 0, until: str | None = None) -> list[dict[str, float]]:
    """All steps of all phases up to and with `until`, as the runner makes them; each step's terms."""
    terms = []
    for number, phase in enumerate(method.phases()):
        if phase.begin is not None:
            phase.begin()
        for step in range(phase.steps):
            method.position.phase_step = step
            generator = torch.Generator().manual_seed(10_000 * seed + 100 * number + step)
            assert callable(phase.data)
            terms.append({name: float(value.detach()) for name, value in phase.step(phase.data(step, generator)).items()})
        if phase.end is not None:
            phase.end()
        if phase.name == until:
            break
    return terms
