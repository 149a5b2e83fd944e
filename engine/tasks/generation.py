"""What the tasks share whose students make examples: a generator of few steps, or a denoiser that is integrated.

A child loads its splits, names the extractors that distances are measured in, and shows samples. Samples come from one set of noise and
labels that is the same for every run, split and device, so that two evaluations differ by the model alone.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from engine.charts import ChartSpec, rows
from engine.metrics import distances
from engine.metrics.cost import device_name, parameter_count
from engine.metrics.extractors import Extractor
from engine.models.build import build
from engine.seeds import derived_seed
from engine.tasks.options import GenerationOptions
from engine.tasks.task import Judgement, Task

NEIGHBORS = 5
SUBSETS, SUBSET_SIZE = 50, 100
AT_ONCE = 500
"""Samples that are made in one batch."""

Metrics = dict[str, float | None]


class _Real:
    """Real rows in an extractor's space, with what depends on them alone: each is found when it is first asked for, and kept."""

    def __init__(self, features: Tensor, train: "_Real | None") -> None:
        self.features = features
        self._train = train or self

    @cached_property
    def moments(self) -> distances.Moments:
        return distances.moments(self.features, "real")

    @cached_property
    def within(self) -> distances.InnerDistances:
        return distances.within(self.features, k=NEIGHBORS, name="real")

    @cached_property
    def floor(self) -> float:
        """The Fréchet distance of the training rows from these."""
        return distances.frechet_distance(self.moments, self._train.moments)


class GenerationTask(Task):
    """The parent. `options.samples` is how many samples an evaluation draws. With a teacher its samples, from the same noise, are shown beside.

    A model is a module with `sample`, `evaluations` and `levels` of `engine.diffusion.denoiser.Sampler`.
    """

    options: GenerationOptions
    seed: ClassVar[str] = "samples 1"
    """What the fixed noise is derived from; another one would change every number."""

    # What a child writes

    def extractors(self) -> Sequence[Extractor]:
        """What Fréchet distances are measured in. The first is also that of every other distance."""
        raise NotImplementedError

    def classify(self, examples: Tensor) -> Tensor | None:
        """The class of each example (rows, …) as a fixed classifier sees it, (rows,) int64; None where examples have none."""
        return None

    def show(self, samples: Tensor, labels: Tensor | None, *, teacher: Tensor | None, split: str) -> dict[str, ChartSpec]:
        """Pictures of some samples (rows, …), the teacher's from the same noise beside them."""
        return {}

    # What a method may use

    def noise_and_labels(self, count: int) -> tuple[Tensor, Tensor | None]:
        """The first `count` of the fixed noise (count, …), and classes in turn (count,), on the run's device."""
        generator = torch.Generator().manual_seed(derived_seed(self.card.id, self.seed))
        noise = torch.randn(count, *self.card.input_shape, generator=generator).to(self.device)
        classes = self.card.classes
        labels = None if classes is None else (torch.arange(count) % classes).to(self.device)
        return noise, labels

    @torch.no_grad()
    def draw(self, model: nn.Module, count: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Samples (count, …) in eval mode from the fixed noise, by default as many as an evaluation has, and the labels asked for."""
        count = count or self.options.samples
        # Fewer are cut from as many as an evaluation has: torch draws the last numbers of a tensor anew, so they depend on its size.
        noise, labels = self.noise_and_labels(max(count, self.options.samples))
        noise, labels = noise[:count], None if labels is None else labels[:count]
        between = torch.Generator(self.device).manual_seed(derived_seed(self.card.id, self.seed, "between levels"))
        was_training = model.training
        model.eval()
        pieces = [
            model.sample(piece, None if labels is None else labels[start : start + AT_ONCE], between)  # type: ignore[operator]
            for start, piece in zip(range(0, len(noise), AT_ONCE), noise.split(AT_ONCE), strict=True)
        ]
        model.train(was_training)
        return torch.cat(pieces), labels

    # The task

    def new_model(self, architecture: str, config: Mapping[str, Any]) -> nn.Module:
        chosen = self.card.architectures[architecture]
        return build(chosen.builder, {**chosen.config, **config})

    def judge_samples(self, model: nn.Module, split: str, *, teacher: nn.Module | None, final: bool) -> Judgement:
        """Distances of samples to the split's rows, beside those of the training rows: the floor that no model is expected to pass.

        Where a sample is not finite, all distances are undefined. `final` adds cost. `teacher` must not change between calls.
        """
        started = time.perf_counter()
        samples, labels = self.draw(model)
        if samples.is_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        metrics: Metrics = {"evaluations": float(model.evaluations)}  # type: ignore[arg-type]
        finite = bool(samples.isfinite().all())
        tables: dict[str, Any] = {}
        if finite:
            measured, tables["distances"] = self._distances(samples, labels, split)
            metrics |= measured
            tables |= self.show(samples, labels, teacher=None if teacher is None else self._teachers_samples(teacher), split=split)
        if final:
            metrics |= {
                "parameters": float(parameter_count(model)),
                "flops": float(self._flops(model)),
                "sample_ms": 1000 * seconds / len(samples),
            }
            tables["cost"] = {"n": len(samples), "split": split, "device": device_name(self.device)}
        return Judgement(metrics, tables)

    def _distances(self, samples: Tensor, labels: Tensor | None, split: str) -> tuple[Metrics, ChartSpec]:
        metrics: Metrics = {}
        cells: list[list[str | float | int | None]] = []
        features = [extractor.features(samples) for extractor in self._extractors()]
        for extractor, fake in zip(self._extractors(), features, strict=True):
            known = self._real(extractor, split)
            distance = distances.frechet_distance(known.moments, distances.moments(fake, "fake"))
            metrics[f"fid_{extractor.key}"] = distance
            cells.append([extractor.name, extractor.hash[:12], extractor.dims, len(fake), len(known.features), distance, known.floor])
        main, fake = self._extractors()[0], features[0]
        known = self._real(main, split)
        real = known.features
        generator = torch.Generator().manual_seed(derived_seed(self.card.id, self.seed, "subsets"))
        size = min(SUBSET_SIZE, len(real), len(fake))
        metrics["kid"], spread = distances.kid_of_subsets(real, fake, size=size, count=SUBSETS, generator=generator)
        close = distances.closeness(real, fake, k=NEIGHBORS, within_real=known.within)
        near = close.neighborhoods
        metrics |= {"precision": near.precision, "recall": near.recall, "density": near.density, "coverage": near.coverage}
        metrics |= {"energy_distance": close.energy_distance, "nearest_distance": close.nearest_distance}
        metrics["diversity"] = distances.spread_within(fake, labels)
        metrics["sample_variance"] = float(_variance(samples))
        metrics["variance_ratio"] = float(_variance(samples) / _variance(self.splits["train"].inputs))
        seen = self.classify(samples)
        if seen is not None and labels is not None:
            metrics["conditional_accuracy"] = float((seen == labels).double().mean())
        note = (
            f"Reference: the {split} rows. The floor is the distance of the training rows from them. "
            f"KID over {SUBSETS} subsets of {size}: standard deviation {spread:.4f}. Precision, recall, density and coverage with {NEIGHBORS} neighbors."
        )
        columns = ("extractor", "hash", "dims", "samples", "reference rows", "FID", "floor")
        return metrics, rows("Distances to real examples", columns, cells, note=note)

    def floor(self, split: str) -> float:
        """The first extractor's Fréchet distance of the training rows from the split's: a line for pictures."""
        return self._real(self._extractors()[0], split).floor

    def _extractors(self) -> Sequence[Extractor]:
        if not hasattr(self, "_known_extractors"):
            self._known_extractors = tuple(self.extractors())
            self._known_reals: dict[tuple[str, str], _Real] = {}
        return self._known_extractors

    def _real(self, extractor: Extractor, split: str) -> "_Real":
        """What is known of a split's rows, found once."""
        key = (extractor.name, split)
        if key not in self._known_reals:
            train = None if split == "train" else self._real(extractor, "train")
            self._known_reals[key] = _Real(extractor.features(self.splits[split].inputs), train)
        return self._known_reals[key]

    def _teachers_samples(self, teacher: nn.Module) -> Tensor:
        """The first samples of a teacher, made once: as many as a picture may show."""
        if not hasattr(self, "_of_teachers"):
            self._of_teachers: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()
        if teacher not in self._of_teachers:
            self._of_teachers[teacher] = self.draw(teacher, min(SHOWN, self.options.samples))[0]
        return self._of_teachers[teacher]

    @torch.no_grad()
    def _flops(self, model: nn.Module) -> int:
        """Floating-point operations of one sample: those of one call, for each evaluation. Elementwise work is not counted."""
        noise, labels = self.noise_and_labels(1)
        with FlopCounterMode(display=False) as counter:
            model(noise, noise.new_ones(1), labels)
        return int(counter.get_total_flops()) * int(model.evaluations)  # type: ignore[arg-type]


SHOWN = 100
"""At most so many of a teacher's samples are kept for pictures."""


def _variance(examples: Tensor) -> Tensor:
    """The variance over the entries of one example (divisor n), averaged over examples (rows, …)."""
    return examples.flatten(1).double().var(dim=1, correction=0).mean()
