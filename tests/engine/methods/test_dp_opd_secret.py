"""The secret that a private run draws from: no seed leads to it, nothing but checkpoints holds it, and the noise can't be drawn again without it."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from engine.events import Event
from engine.evidence.tiny_runs import TinyRuns, fewer
from engine.methods.dp_opd.mechanism import noised_mean, zeros_like_parameters
from engine.methods.dp_opd.method import DPOPD
from engine.methods.dp_opd.secret import secret_generator, words_of
from engine.run import checkpoint
from engine.run.export import load_model
from engine.run.runner import execute
from engine.seeds import derived_seed
from engine.spec import catalog
from tests.engine.methods.dp_opd_bench import batch_of, new
from tests.engine.methods.harness import weights
from tests.engine.methods.language import gpt2

CARD = catalog.methods()["dp-opd"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRuns:
    return TinyRuns(CARD, tmp_path_factory.mktemp("models"), options=fewer(catalog.tasks()[CARD.task]))


class Watched(DPOPD):
    """Lays the first state of each run's secret open to the test."""

    states: ClassVar[list[Tensor]] = []

    def build(self) -> None:
        super().build()
        self.states.append(self.chance.get_state())


# Where it comes from


def seeded(words: list[int]) -> bool:
    """Whether each word is what the Mersenne Twister makes of the one before it when it is seeded (Matsumoto & Nishimura, `init_genrand`)."""
    return all((1812433253 * (words[at - 1] ^ (words[at - 1] >> 30)) + at) % 2**32 == words[at] for at in range(1, len(words)))


def test_a_seed_of_the_cpu_s_generator_has_only_thirty_two_bits_so_the_secret_is_none():
    low, high = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + 2**32)
    assert torch.equal(torch.randn(9, generator=low), torch.randn(9, generator=high))
    assert seeded(words_of(torch.Generator().manual_seed(5).get_state()).tolist())

    words = words_of(secret_generator(CPU).get_state()).tolist()

    assert not seeded(words)
    assert len(set(words)) > 620 and max(words) < 2**32 and min(words) >= 0


def test_no_two_secrets_are_the_same_whatever_was_seeded_before():
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        drawn.append(torch.randn(1000, generator=secret_generator(CPU)))

    assert not torch.equal(drawn[0], drawn[1])


def test_what_it_draws_is_normal():
    drawn = torch.randn(100_000, generator=secret_generator(CPU), dtype=torch.float64)

    # Six standard errors: one test run in 500 million is further away.
    assert abs(float(drawn.mean())) < 6 / 100_000**0.5
    assert abs(float(drawn.var()) - 1) < 6 * (2 / 100_000) ** 0.5


# What is drawn from it


def test_two_runs_of_one_seed_have_other_batches_coins_samples_and_noise():
    settings = {"noise_multiplier": 1.0, "clip_norm": 0.5, "records": 60, "expected_batch": 30, "on_policy_share": 0.5}
    one, other = new(settings, seed=7), new(settings, seed=7)
    for method in (one, other):
        method.chance.set_state(secret_generator(CPU).get_state())
    public = [torch.Generator().manual_seed(3) for _ in range(2)]

    batches = [method.poisson_batch(0, generator).index for method, generator in zip((one, other), public, strict=True)]
    continued = [method.continued(method.corpus) for method in (one, other)]
    for method in (one, other):
        method.step(batch_of(method))  # an empty batch moves by the noise alone

    assert not torch.equal(torch.zeros(60).index_fill(0, batches[0], 1), torch.zeros(60).index_fill(0, batches[1], 1))
    assert not torch.equal(continued[0][1], continued[1][1])
    both = continued[0][1] & continued[1][1]
    assert not torch.equal(continued[0][0].completion_ids[both], continued[1][0].completion_ids[both])
    assert (weights(one.student) != weights(other.student)).all()


def test_the_run_s_own_generator_draws_nothing():
    method = new({"noise_multiplier": 1.0, "clip_norm": 0.5, "on_policy_share": 0.5})
    public, process = method.generator.get_state(), torch.get_rng_state()
    given = torch.Generator().manual_seed(0)
    before = given.get_state()

    method.step(method.poisson_batch(0, given))

    assert torch.equal(method.generator.get_state(), public) and torch.equal(given.get_state(), before)
    assert torch.equal(torch.get_rng_state(), process)


def test_dropout_whose_masks_would_come_from_the_seed_is_off_while_gradients_are_taken():
    student = gpt2(1)
    student.body.transformer.drop.p = 0.5
    method, plain = new(student=student.train()), new()

    for each in (method, plain):
        each.step(batch_of(each, 0, 1, 2))

    assert torch.equal(weights(method.student), weights(plain.student))
    assert method.student.body.transformer.drop.training


# Who could find it


def files_without_checkpoints(workdir: Path) -> Iterator[Path]:
    for path in sorted(workdir.rglob("*")):
        if path.is_file() and checkpoint.FOLDER not in path.relative_to(workdir).parts:
            yield path


def places_of(states: list[Tensor], content: bytes) -> list[str]:
    """Where a secret shows in some bytes: eight neighboring words as they are in memory, packed or not, or a word written out as a number."""
    text = content.decode("utf-8", errors="replace")
    numbers = set(re.findall(r"(?<![\d.])\d{6,}", text)) | set(re.findall(r"\b[0-9a-f]{6,}\b", text))
    found = []
    for state in states:
        words = words_of(state.clone())
        for at in range(0, 624, 8):
            piece = words[at : at + 8]
            for shape in (piece, piece.to(torch.uint32)):
                if shape.numpy().tobytes() in content:
                    found.append(f"words from {at} as bytes")
        found += [f"the word {word}" for word in words.tolist() if str(word) in numbers or f"{word:x}" in numbers]
    return found


def test_no_file_but_a_checkpoint_and_no_event_holds_the_secret(tiny, tmp_path):
    events: list[Event] = []
    Watched.states.clear()

    outcome = execute(tiny.spec(), events.append, tmp_path, models=tiny.models, method_class=Watched)

    assert outcome.status == "succeeded", outcome.reason
    kept = [path / "tensors.safetensors" for path in (tmp_path / checkpoint.FOLDER).iterdir()]
    states = [*Watched.states, *(checkpoint.read(path.parent).tensors["Watched.chance"] for path in kept)]
    states = [state for state in states if state.shape == Watched.states[0].shape]
    assert len(states) == 1 + len(kept) > 1
    # The search itself finds what is there.
    assert all(places_of(states, path.read_bytes()) for path in kept)
    assert places_of(states, str(words_of(states[0].clone())[3].item()).encode())

    files = list(files_without_checkpoints(tmp_path))
    assert {path.name for path in files} >= {"model.json", "model.safetensors", "privacy.json"}
    assert {str(path): places for path in files if (places := places_of(states, path.read_bytes()))} == {}
    assert [type(event) for event in events if places_of(states, json.dumps(asdict(event), default=str).encode())] == []


# The attack


def exported_seeds(meta: dict[str, Any]) -> Iterator[int]:
    """Every whole number that an export holds, and the seeds that the engine derives from it."""
    for text in set(re.findall(r"(?<![\d.])\d+", json.dumps(meta))):
        seed = int(text) % 2**63
        yield from (seed, derived_seed(seed, "method"), derived_seed(derived_seed(seed, "method"), "noise"), derived_seed(seed, "noise"))


def test_with_all_that_is_exported_the_noise_can_not_be_subtracted(tiny, tmp_path):
    """One step of SGD from a known start: (start − end) · B / rate is the noisy sum. Whoever draws the same noise again is left with the sum
    that the records made, whose norm is at most C for each record of the batch; any other noise only adds to the norm, by a factor of √2."""
    settings = {"noise_multiplier": 50.0, "clip_norm": 0.01, "optimizer": "sgd", "learning_rate": 1.0, "on_policy_share": 0.0}
    outcome = execute(tiny.spec(settings=settings, budget={"steps": 1}), lambda event: None, tmp_path, models=tiny.models)
    assert outcome.status == "succeeded", outcome.reason
    (end, meta), (start, _) = load_model(tmp_path / "student"), load_model(tiny.models[str(tiny.spec().student)])
    noisy = meta["spec"]["settings"]["expected_batch"] * (weights(start) - weights(end))

    left = [float((noisy - guess).norm()) for seed in set(exported_seeds(meta)) for guess in guesses(seed, start, meta["spec"]["settings"])]

    assert len(left) > 100
    assert min(left) > 1.3 * float(noisy.norm())


def guesses(seed: int, start: torch.nn.Module, settings: dict[str, Any]) -> Iterator[Tensor]:
    """The noise of a first step from this seed, when it is all that is drawn, and when batch and coins are drawn before it."""
    for before in (False, True):
        generator = torch.Generator().manual_seed(seed)
        if before:
            chances = torch.rand(settings["records"], generator=generator)
            torch.rand(int((chances < settings["expected_batch"] / settings["records"]).sum()), generator=generator)
        noise = noised_mean(
            zeros_like_parameters(start),
            noise_multiplier=settings["noise_multiplier"],
            clip_norm=settings["clip_norm"],
            expected_batch=1.0,
            generator=generator,
        )
        yield torch.cat([each.flatten() for each in noise.values()])
