"""Steps a second of `vanilla-kd` in the engine over those of a bare loop with the same networks, rows, batches and optimizer, one thread each.

    python benchmarks/engine/vanilla_kd_against_plain.py [--students resnet-small mlp-16] [--seconds 5] [--rounds 5]

The loop is what one would write by hand from the paper: no checkpoints, no events, each step's loss read to print it. The teacher has the student's
architecture. The two take turns, so that a busy machine slows both; the ratio is that of the medians. The target is never to be slower, for
resnet-small; a step of mlp-16 is all calls and next to no arithmetic, so its ratio shows what the engine adds to a step. What a whole product adds,
with worker and database, is measured by benchmarks/overhead.py.
"""

import argparse
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.events import Event, Progress
from engine.models.build import build
from engine.run.export import save_model
from engine.run.runner import execute
from engine.spec import catalog
from engine.spec.run_spec import RunSpec

TARGET, MEASURED = 1.0, "resnet-small"
BATCH, RATE, TEMPERATURE, ALPHA = 64, 1e-3, 4.0, 0.9
CARD = catalog.tasks()["digits"]


def network(name: str, seed: int) -> nn.Module:
    """Weights don't matter to the clock."""
    torch.manual_seed(seed)
    return build(CARD.architectures[name].builder, CARD.architectures[name].config)


def plain(name: str, steps: int) -> float:
    """Steps a second of the loop."""
    train = catalog.load_task(CARD.id)(CARD.options(), torch.device("cpu")).splits["train"]
    teacher, student = network(name, 1).eval(), network(name, 0).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.0)
    assert train.targets is not None, "digits have labels"
    losses: list[float] = []
    began = time.perf_counter()
    while len(losses) < steps:
        for rows in torch.randperm(len(train)).split(BATCH)[: steps - len(losses)]:
            inputs, targets = train.inputs[rows], train.targets[rows]
            with torch.no_grad():
                taught = F.log_softmax(teacher(inputs) / TEMPERATURE, dim=1)
            logits = student(inputs)
            said = F.log_softmax(logits / TEMPERATURE, dim=1)
            soft = TEMPERATURE**2 * F.kl_div(said, taught, log_target=True, reduction="batchmean")
            loss = ALPHA * soft + (1 - ALPHA) * F.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return steps / (time.perf_counter() - began)


def engine(name: str, steps: int, folder: Path) -> float:
    """Steps a second of a run, from its own report; its evaluation at the end is not part of it."""
    reference, architecture = f"run:{uuid.UUID(int=1)}", CARD.architectures[name]
    meta = {
        "kind": "classifier",
        "task": CARD.id,
        "builder": architecture.builder,
        "config": dict(architecture.config),
        "architecture": name,
    }
    save_model(folder / "teacher", network(name, 1), {**meta, "classes": CARD.classes, "input_shape": list(CARD.input_shape)})
    spec = RunSpec.parse(
        {
            "method": "vanilla-kd",
            "task": CARD.id,
            "teachers": [reference],
            "student": name,
            "settings": {
                "batch_size": BATCH,
                "learning_rate": RATE,
                "schedule": "constant",
                "temperature": TEMPERATURE,
                "kd_weight": ALPHA,
                "ce_weight": 1 - ALPHA,
            },
            "budget": {"steps": steps},
            "cadence": {"evaluate": 10 * steps},
            "device": "cpu",
            "threads": 1,
        }
    )
    events: list[Event] = []
    outcome = execute(spec, events.append, folder / "run", models={reference: folder / "teacher"})
    assert outcome.status == "succeeded", outcome.reason
    return [event for event in events if isinstance(event, Progress)][-1].steps_per_second


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", nargs="+", default=[MEASURED, "mlp-16"], choices=CARD.architectures, metavar="ARCHITECTURE")
    parser.add_argument("--seconds", type=float, default=5.0, help="about how long each side trains in a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    met = True
    for name in arguments.students:
        steps = max(100, int(plain(name, 100) * arguments.seconds))
        rates = []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                rates.append((plain(name, steps), engine(name, steps, Path(folder))))
        by_hand, here = (statistics.median(each) for each in zip(*rates, strict=True))
        ratio = here / by_hand
        verdict = "" if name != MEASURED else f" (target: at least {TARGET:g}) {'met' if ratio >= TARGET else 'missed'}"
        print(f"vanilla-kd over bare loop, {name}: {ratio:.2f}{verdict}")
        print(f"  {here:,.0f} over {by_hand:,.0f} steps/s, medians of {arguments.rounds} rounds of {steps:,} steps")
        met = met and (ratio >= TARGET or name != MEASURED)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
