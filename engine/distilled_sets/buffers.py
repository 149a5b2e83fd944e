"""Buffers of experts: the weights that they had after each epoch, and how a run takes over those that an earlier run trained.

Experts have seeds of their own, so runs that differ in their seed, or in how they distill, need the same ones, and the experts are most of the
cost of a small run. A buffer is kept as `<hash of its recipe>.safetensors` in the folder that STILLHOUSE_BUFFERS names; without that variable
each run trains its own. Whoever needs the space may delete files there at any time.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.method import Batch, Logs
from engine.run.storage import fsync, writing

FORMAT = 1
TENSORS = ("trajectories", "cosines")


class DamagedBuffer(Exception):
    """A file of the buffers' folder that can't be used; the text says why."""


class ExpertBuffer:
    """The experts of one run. It has a `state_dict`, so that checkpoints hold all of it.

    trajectories (experts, epochs + 1, parameters): each expert's weights before the first epoch and after each one.
    cosines (experts, epochs): mean cosine of gradient and perturbed gradient, 0 where steps are not sharpness-aware.
    recipe: JSON; buffers of equal recipes are equal to the last bit. steps, seconds: what training the experts took.
    reused: the name of the file that the experts were taken over from; empty for experts of this run's own.
    """

    def __init__(self, experts: int, epochs: int, parameters: int, *, recipe: Mapping[str, Any], device: torch.device) -> None:
        self.trajectories = torch.zeros(experts, epochs + 1, parameters, device=device)
        self.cosines = torch.zeros(experts, epochs, device=device)
        self.recipe = dict(recipe)
        self.recorded, self.steps, self.seconds = 0, 0, 0.0
        self.reused, self.remark = "", ""

    def record(self, expert: int, epoch: int, theta: Tensor) -> None:
        """The expert's weights (parameters,) after so many epochs. Each snapshot is recorded once."""
        self.trajectories[expert, epoch] = theta
        self.recorded += 1

    @property
    def is_complete(self) -> bool:
        """Whether every expert has made all of its epochs."""
        return self.recorded == self.trajectories.shape[0] * self.trajectories.shape[1]

    def timed(self, step: Callable[[Batch], Logs]) -> Callable[[Batch], Logs]:
        """The step, counted, with the time that it takes on the CPU's side."""

        def counted(batch: Batch) -> Logs:
            began = time.perf_counter()
            terms = step(batch)
            self.seconds += time.perf_counter() - began
            self.steps += 1
            return terms

        return counted

    # Files

    @property
    def recipe_hash(self) -> str:
        """Sixteen hexadecimal digits that name the recipe."""
        return hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file(self) -> Path | None:
        """Where a buffer of this recipe is kept; None where buffers are not."""
        folder = os.environ.get("STILLHOUSE_BUFFERS", "")
        return Path(folder) / f"{self.recipe_hash}.safetensors" if folder else None

    def take_over(self) -> None:
        """Takes the experts of an earlier run of the same recipe where its file is whole, and remarks on what it found."""
        file = self.file
        if file is None or not file.exists():
            return
        try:
            tensors, facts = self._read(file)
        except DamagedBuffer as error:
            self.remark = f"The buffer {file.name} is not used, and its experts are trained again: {error}."
            return
        for name, tensor in tensors.items():
            getattr(self, name).copy_(tensor)
        self.recorded = self.trajectories.shape[0] * self.trajectories.shape[1]
        self.steps, self.seconds, self.reused = facts["steps"], facts["seconds"], file.name
        self.remark = f"The experts are those of the buffer {file.name}, whose {self.steps} steps took {self.seconds:.1f} seconds."

    def keep(self) -> None:
        """Keeps a complete buffer for later runs, durably and all at once. Raises StorageError."""
        file = self.file
        if file is None or not self.is_complete or self.reused:
            return
        tensors = {name: getattr(self, name).cpu().contiguous() for name in TENSORS}
        facts = {
            "format": FORMAT,
            "recipe": self.recipe,
            "sha256": {name: _digest(tensor) for name, tensor in tensors.items()},
            "steps": self.steps,
            "seconds": self.seconds,
        }
        partial = file.with_name(f".partial-{os.getpid()}-{file.name}")  # runs that train the same experts at once do not meet
        with writing("The buffer of experts", file.parent, needed=sum(tensor.nbytes for tensor in tensors.values())):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                save_file(tensors, partial, {"buffer": json.dumps(facts)})
                fsync(partial)
                partial.replace(file)
                fsync(file.parent)
            finally:
                partial.unlink(missing_ok=True)

    def _read(self, file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            with safe_open(file, framework="pt") as opened:
                facts = json.loads((opened.metadata() or {})["buffer"])
                tensors = {name: opened.get_tensor(name) for name in TENSORS}
            written, recipe, steps, seconds = (facts[name] for name in ("format", "recipe", "steps", "seconds"))
            whole = facts["sha256"] == {name: _digest(tensor) for name, tensor in tensors.items()}
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise DamagedBuffer(f"it can't be read ({type(error).__name__}: {error})") from None
        if written != FORMAT:
            raise DamagedBuffer(f"it has format {written!r:.20}, and this version reads format {FORMAT}")
        if not whole:
            raise DamagedBuffer("its tensors do not have the SHA-256 that was written beside them")
        if recipe != json.loads(json.dumps(self.recipe)):
            raise DamagedBuffer("it was made by another recipe")
        return tensors, {"steps": int(steps), "seconds": float(seconds)}

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """All but the recipe, which is the run's."""
        return {name: value for name, value in vars(self).items() if name != "recipe"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Tensors are copied into those that are here."""
        for name, value in state.items():
            if name in TENSORS:
                getattr(self, name).copy_(value)
            else:
                setattr(self, name, value)


def machine(device: torch.device) -> dict[str, Any]:
    """What else decides on the last bit of an expert's weights: torch, the kind of processor, and on a CPU how many threads share a sum."""
    if device.type == "cuda":
        return {"torch": torch.__version__, "processor": torch.cuda.get_device_name(device)}
    return {"torch": torch.__version__, "processor": "cpu", "threads": torch.get_num_threads()}


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
