"""Generator steps a second of `dmd2` in the engine over those of a plain script with the same networks, batches and optimizers, one thread each.

    python benchmarks/engine/dmd2_against_plain.py [--steps 200] [--rounds 5] [--fake-updates 2]

The script is the loop that one would write by hand from the paper: no checkpoints, no events, a loss read at each step to print it. The two take
turns, so that a busy machine slows both; the ratio is that of the medians. The target is never to be slower.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.events import Event, Progress
from engine.models.build import build
from engine.run.export import save_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec

TARGET = 1.0
BATCH, CLASSES, HIGHEST = 64, 10, 20.0
CARD = catalog.tasks()["digits-images"]
ARCHITECTURE = CARD.architectures["edm-mlp"]


def teacher() -> nn.Module:
    """Weights don't matter to the clock, but the last layer is not 0."""
    torch.manual_seed(0)
    model = build(ARCHITECTURE.builder, ARCHITECTURE.config)
    nn.init.normal_(model.leave.weight, std=0.05)  # type: ignore[union-attr, arg-type]
    return model


def plain(steps: int, fake_updates: int) -> float:
    """Generator steps a second of the script."""
    real = teacher().eval().requires_grad_(False)
    generator, fake = copy.deepcopy(real).train().requires_grad_(True), copy.deepcopy(real).train().requires_grad_(True)
    for_generator, for_fake = torch.optim.Adam(generator.parameters(), lr=3e-4), torch.optim.Adam(fake.parameters(), lr=1e-3)
    ramp = torch.arange(1000) / 999
    table = (HIGHEST ** (1 / 7) + ramp * (0.02 ** (1 / 7) - HIGHEST ** (1 / 7))).pow(7).flip(0)
    losses = []

    def samples() -> tuple[Tensor, Tensor]:
        y = torch.randint(CLASSES, (BATCH,))
        return generator(HIGHEST * torch.randn(BATCH, 1, 8, 8), torch.full((BATCH,), HIGHEST), y), y

    began = time.perf_counter()
    for _ in range(steps):
        x, y = samples()
        with torch.no_grad():
            sigma = table[torch.randint(20, 981, (BATCH,))]
            x_t = x + sigma[:, None, None, None] * torch.randn_like(x)
            guess = real(x_t, sigma, y)
            g = (fake(x_t, sigma, y) - guess) / (x - guess).abs().mean(dim=(1, 2, 3), keepdim=True)
            g = torch.nan_to_num(g, 0.0, 0.0, 0.0)
        loss = 0.5 * (x - (x - g).detach()).square().mean()
        for_generator.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 10.0)
        for_generator.step()
        losses.append(loss.item())
        for _ in range(fake_updates):
            with torch.no_grad():
                x, y = samples()
            sigma = table[torch.randint(1000, (BATCH,))]
            guess = fake(x + sigma[:, None, None, None] * torch.randn_like(x), sigma, y)
            weight = sigma**-2 + 0.752**-2
            loss = (weight * (guess - x).square().mean(dim=(1, 2, 3))).mean()
            for_fake.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(fake.parameters(), 10.0)
            for_fake.step()
            losses.append(loss.item())
    return steps / (time.perf_counter() - began)


def engine(steps: int, fake_updates: int, folder: Path) -> float:
    """Generator steps a second of a run, from its own report; its evaluation at the end is not part of it."""
    name = f"run:{uuid.UUID(int=1)}"
    save_model(
        folder / "teacher",
        teacher(),
        {
            "kind": "denoiser",
            "task": CARD.id,
            "builder": ARCHITECTURE.builder,
            "config": dict(ARCHITECTURE.config),
            "architecture": "edm-mlp",
            "classes": CARD.classes,
            "input_shape": list(CARD.input_shape),
        },
    )
    spec = RunSpec.parse(
        {
            "method": "dmd2",
            "task": CARD.id,
            "task_options": {"samples": 100},
            "teachers": [name],
            "settings": {"fake_updates": fake_updates},
            "budget": {"steps": steps},
            "cadence": {"evaluate": 10 * steps},
            "device": "cpu",
            "threads": 1,
        }
    )
    events: list[Event] = []
    outcome = execute(spec, events.append, folder / "run", models={name: folder / "teacher"})
    assert outcome.status == "succeeded", outcome.reason
    return [event for event in events if isinstance(event, Progress)][-1].steps_per_second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="generator steps in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fake-updates", type=int, default=2, help="steps of the fake for each of the generator")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        plain(10, arguments.fake_updates)
        for _ in range(arguments.rounds):
            rates.append((plain(arguments.steps, arguments.fake_updates), engine(arguments.steps, arguments.fake_updates, Path(folder))))
    by_hand, here = (statistics.median(each) for each in zip(*rates, strict=True))
    ratio = here / by_hand
    print(f"dmd2 over plain script: {ratio:.2f} (target: at least {TARGET:g}) {'met' if ratio >= TARGET else 'missed'}")
    print(f"  {here:,.1f} over {by_hand:,.1f} generator steps/s, medians of {arguments.rounds} rounds of {arguments.steps:,} steps")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
