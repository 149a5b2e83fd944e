"""Private steps a second of `dp-opd` over those of Opacus' PrivacyEngine: the same network, records, loss, expected batch, noise and optimizer.

    python benchmarks/engine/dp_opd_against_opacus.py [--steps 40] [--rounds 5]

Both are DP-SGD by cross-entropy on one thread, so that nothing but clipping, noise and bookkeeping differs: the student of `stdlib-private`, a GPT-2
of one layer, 64 records of 48 characters on average. Opacus takes gradients by its hooks; for layers that it has no rule for, it differentiates
record by record as well. Ours also reports ε, norms and the signal at every step, as a run does; Opacus is not asked. The two take turns, so that a
busy machine slows both; the ratio is that of the medians. Target: never slower.
"""

import argparse
import statistics
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from engine.method import Batch, Length, Method, MicroBatch, Position, RunContext
from engine.spec import catalog
from engine.tasks.language import LanguageTask

TARGET = 1.0
NOISE, CLIP, EXPECTED, RECORDS, PROMPT, COMPLETION, RATE = 0.83, 0.5, 64, 4000, 16, 32, 2e-3


class Opacus:
    """The loop of Opacus' own documentation."""

    def __init__(self, task: LanguageTask, student: nn.Module) -> None:
        from opacus import PrivacyEngine

        width = PROMPT + COMPLETION
        records = task.tokens["private"][: RECORDS * width].view(-1, width)
        # Opacus needs the batch first in all inputs, so positions are made for each record.
        self.positions = torch.arange(width)
        loader = DataLoader(TensorDataset(records), batch_size=EXPECTED)
        optimizer = torch.optim.Adam(student.parameters(), lr=RATE)
        self.engine = PrivacyEngine(accountant="rdp")
        self.net, self.optimizer, self.loader = self.engine.make_private(
            module=student.get_submodule("body").train(),
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=NOISE,
            max_grad_norm=CLIP,
            poisson_sampling=True,
        )
        self.batches = iter(self.loader)

    def steps(self, count: int) -> None:
        for _ in range(count):
            try:
                (ids,) = next(self.batches)
            except StopIteration:
                self.batches = iter(self.loader)
                (ids,) = next(self.batches)
            self.optimizer.zero_grad()
            logits = self.net(input_ids=ids, position_ids=self.positions.expand(len(ids), -1), use_cache=False).logits
            # Opacus expects a mean over records.
            shifted = logits[:, PROMPT - 1 : -1]
            nn.functional.cross_entropy(shifted.flatten(0, 1), ids[:, PROMPT:].flatten()).backward()
            self.optimizer.step()


class Ours:
    """The method as a run calls it."""

    def __init__(self, task: LanguageTask, student: nn.Module, teacher: nn.Module) -> None:
        method_class = catalog.load_method("dp-opd")
        settings = {
            "epsilon": None,
            "noise_multiplier": NOISE,
            "clip_norm": CLIP,
            "expected_batch": EXPECTED,
            "records": RECORDS,
            "prompt_tokens": PROMPT,
            "completion_tokens": COMPLETION,
            "learning_rate": RATE,
            "loss": "labels",
            "on_policy_share": 0.0,
            "gradients_at_once": 256,
        }
        self.method: Method = method_class(
            RunContext(
                task=task,
                settings=method_class.card.settings.model_validate(settings),
                student=student.train(),
                teachers=(teacher.eval(),),
                budget=Length(100_000, 1),
                device=torch.device("cpu"),
                generator=torch.Generator().manual_seed(0),
                position=Position(),
                micro=MicroBatch(),
                log=lambda text: None,
                save_table=lambda name, content: None,
                save_tensors=lambda name, tensors, meta: None,
            )
        )
        self.method.build()
        [self.phase] = self.method.phases()
        self.generator, self.done = torch.Generator(), 0

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.generator.manual_seed(self.done)
            assert callable(self.phase.data)
            batch: Batch = self.phase.data(self.done, self.generator)
            terms: dict[str, Tensor] = dict(self.phase.step(batch))
            [value.item() for value in terms.values()]
            self.done += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="steps of each side in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if find_spec("opacus") is None:
        print("This benchmark compares with Opacus, which is not installed: python -m pip install opacus.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Opacus warns that its generator is no cryptographic one, and hooks that they are unusual
    card = catalog.tasks()["stdlib-private"]
    task = catalog.load_task(card.id)(card.options(), torch.device("cpu"))
    assert isinstance(task, LanguageTask)
    models = []
    for _ in range(3):
        torch.manual_seed(0)
        models.append(task.new_model("gpt2-1x32", {}))
    theirs, ours = Opacus(task, models[0]), Ours(task, models[1], models[2])
    rates: dict[str, list[float]] = {"opacus": [], "stillhouse": []}
    for side in (theirs, ours):
        side.steps(3)
    for _ in range(arguments.rounds):
        for name, side in (("opacus", theirs), ("stillhouse", ours)):
            began = time.perf_counter()
            side.steps(arguments.steps)
            rates[name].append(arguments.steps / (time.perf_counter() - began))
    medians = {name: statistics.median(each) for name, each in rates.items()}
    ratio = medians["stillhouse"] / medians["opacus"]
    for name, each in rates.items():
        print(f"{name:<11} {medians[name]:8.1f} steps a second (rounds {', '.join(f'{rate:.1f}' for rate in each)})")
    print(f"ratio {ratio:.2f}, target {TARGET:.2f}: {'met' if ratio >= TARGET else 'missed'}")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
