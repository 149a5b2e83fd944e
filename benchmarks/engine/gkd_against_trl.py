"""Tokens a second of on-policy distillation here over those of TRL's GKDTrainer: whole steps, sampling included, of the same tiny Llama.

    python benchmarks/engine/gkd_against_trl.py [--steps 20] [--rounds 3] [--batch 32]

TRL is no dependency of Stillhouse: run this with a Python that has both, for example a virtual environment of its own in which Stillhouse and `trl`
are installed. Both train the same network with AdamW on prompts of 16 characters with completions of 32, all sampled by the student at temperature
1, on one thread, and both see a teacher of the same size. Ours goes through the runner. The two take turns, so that a busy machine slows both; the
ratio is that of the medians. Time is the processor's: on a machine that does nothing else it is that of the clock, on a busy one it is steadier.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from engine.models.build import build
from engine.models.language import CausalLM
from engine.run.export import save_model
from engine.spec import catalog

TARGET = 1.5
TASK, ARCHITECTURE = "stdlib-text", "llama-2x64"
PROMPT, COMPLETION, RATE = 16, 32, 1e-3


def network(seed: int) -> CausalLM:
    """The network that both sides train, or are taught by."""
    architecture = catalog.tasks()[TASK].architectures[ARCHITECTURE]
    torch.manual_seed(seed)
    model = build(architecture.builder, dict(architecture.config))
    assert isinstance(model, CausalLM)
    return model


def ours(batch: int, steps: int, folder: Path) -> float:
    """Tokens a second of a run from the beginning of its phase to the end of its last step; a run is then judged and exported, which TRL does not do."""
    from engine.events import Event, PhaseStarted, Progress
    from engine.run.runner import execute
    from engine.spec.run_spec import RunSpec

    card, architecture, teacher = catalog.tasks()[TASK], catalog.tasks()[TASK].architectures[ARCHITECTURE], f"run:{UUID(int=1)}"
    meta = {
        "kind": "causal-lm",
        "task": TASK,
        "builder": architecture.builder,
        "config": dict(architecture.config),
        "architecture": ARCHITECTURE,
        "classes": card.classes,
        "input_shape": list(card.input_shape),
    }
    save_model(folder / "teacher", network(1), meta)
    spec = {
        "method": "gkd",
        "task": TASK,
        "task_options": {"evaluation_prompts": 1},
        "teachers": [teacher],
        "student": ARCHITECTURE,
        "settings": {"batch_size": batch, "prompt_tokens": PROMPT, "max_new_tokens": COMPLETION, "learning_rate": RATE},
        "budget": {"steps": steps},
        "cadence": {"evaluate": 10**8},
        "device": "cpu",
        "threads": 1,
    }
    times: dict[str, float] = {}

    def listen(event: Event) -> None:
        if isinstance(event, PhaseStarted | Progress):
            times[type(event).__name__] = time.process_time()

    outcome = execute(RunSpec.parse(spec), listen, folder / "run", models={teacher: folder / "teacher"})
    assert outcome.status == "succeeded", outcome.reason
    return batch * COMPLETION * steps / (times["Progress"] - times["PhaseStarted"])


def trl(batch: int, steps: int, folder: Path) -> float:
    """Tokens a second of TRL's trainer between the beginning of its first step and the end of its last."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    task = catalog.load_task(TASK)(catalog.tasks()[TASK].options(), torch.device("cpu"))
    draw = task.continuations(batch * steps, prompt_tokens=PROMPT, completion_tokens=COMPLETION)
    rows = draw(0, torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"prompt": rows.inputs.tolist(), "completion": rows.targets.tolist()})
    words = {symbol: number for number, symbol in enumerate([*task.vocabulary.characters, "<other>"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<other>")), unk_token="<other>", pad_token="<other>"
    )

    def collate(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        prompts = torch.tensor([example["prompt"] for example in examples])
        ids = torch.cat([prompts, torch.tensor([example["completion"] for example in examples])], dim=1)
        labels = ids.clone()
        labels[:, :PROMPT] = -100
        masks = {"attention_mask": torch.ones_like(ids), "prompt_attention_mask": torch.ones_like(prompts)}
        return {"input_ids": ids, "labels": labels, "prompts": prompts, **masks}

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: object, **kwargs: object) -> None:
            times.append(time.process_time())

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            times.append(time.process_time())

    config = GKDConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=batch,
        max_steps=steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        lmbda=1.0,
        beta=0.5,
        temperature=1.0,
        max_new_tokens=COMPLETION,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = GKDTrainer(
        model=network(0).body,
        teacher_model=network(1).body.eval(),
        args=config,
        data_collator=collate,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trainer.train()
    torch.set_num_threads(threads)
    return batch * COMPLETION * steps / (times[-1] - times[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps a round")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument("--batch", type=int, default=32, help="prompts a step")
    options = parser.parse_args()
    if find_spec("trl") is None:
        print("This benchmark compares with TRL, which is not installed: python -m pip install trl.", file=sys.stderr)
        return 2

    rates: dict[str, list[float]] = {"stillhouse": [], "trl": []}
    for _ in range(options.rounds):
        for name, side in (("stillhouse", ours), ("trl", trl)):
            with tempfile.TemporaryDirectory() as folder:
                rates[name].append(side(options.batch, options.steps, Path(folder)))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:>10}: {medians[name]:8.0f} tokens a second of one core ({', '.join(f'{value:.0f}' for value in values)})")
    ratio = medians["stillhouse"] / medians["trl"]
    print(f"     ratio: {ratio:.2f}, target {TARGET}")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
