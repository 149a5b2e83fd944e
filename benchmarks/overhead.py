"""Steps a second in the product over those of a bare PyTorch loop of the same model, data, batch size and optimizer, one thread each.

    python benchmarks/overhead.py [--seconds 10] [--architectures resnet-small mlp-128-128]

In the product the run goes through a worker: every step's loss is recorded, sent to PostgreSQL, and checkpoints are written. The two take turns,
so that a busy machine slows both; the ratio is that of the medians. The target is for resnet-small; small networks show what a step costs.
"""

import argparse
import statistics
import sys
import time

import place

TARGET = 0.95
BATCH = 64
ROUNDS = 3


def bare(architecture: str, steps: int) -> float:
    """Steps a second of the loop that one would write by hand."""
    import torch
    import torch.nn.functional as F

    from engine.models.build import build
    from engine.spec import catalog

    card = catalog.tasks()["digits"]
    task = catalog.load_task("digits")(card.options(), torch.device("cpu"))
    train = task.splits["train"]
    torch.manual_seed(0)
    model = build(card.architectures[architecture].builder, dict(card.architectures[architecture].config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    assert train.targets is not None, "digits have labels"
    losses = []
    done = 0
    began = time.perf_counter()
    while done < steps:
        for rows in torch.randperm(len(train)).split(BATCH):
            loss = F.cross_entropy(model(train.inputs[rows]), train.targets[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            done += 1
            if done == steps:
                break
    return steps / (time.perf_counter() - began)


def product(project: object, architecture: str, steps: int) -> float:
    """Steps a second of a run in the product, its evaluations left out by having none before the last step."""
    from tests.runs import queued_run
    from webapp.runs.models import ENDED, Run, State

    run = queued_run(
        project,  # type: ignore[arg-type]
        student={"name": architecture},
        budget={"steps": steps},
        settings={"batch_size": BATCH, "learning_rate": 1e-3, "schedule": "constant"},
        cadence={"evaluate": steps},
        threads=1,
        priority=100,
    )
    while run.state not in ENDED:
        time.sleep(0.2)
        run = Run.objects.get(pk=run.pk)
    assert run.state == State.SUCCEEDED, run.reason
    return steps / run.train_seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="about how long each round trains")
    parser.add_argument("--architectures", nargs="+", default=["resnet-small", "mlp-128-128"])
    arguments = parser.parse_args()
    met = True
    with place.project() as project, place.running("worker"):
        import torch

        torch.set_num_threads(1)
        for architecture in arguments.architectures:
            steps = max(200, int(bare(architecture, 200) * arguments.seconds))
            rates = [(bare(architecture, steps), product(project, architecture, steps)) for _ in range(ROUNDS)]
            by_hand, here = (statistics.median(each) for each in zip(*rates, strict=True))
            good = place.verdict(f"{architecture}: product over bare loop", here / by_hand, "", TARGET, at_least=True)
            print(f"  {here:,.0f} over {by_hand:,.0f} steps/s, medians of {ROUNDS} rounds of {steps:,} steps")
            met = met and (good or architecture != "resnet-small")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
