"""DP-SGD, private distillation on text, and private distillation on the student's own continuations, at one ε from one public start."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.evidence.experiment import Arm, Claim, Evidence, OneSeed, identity, lower

TASK, EPSILON = "stdlib-private", 2.0
RECIPE = {"optimizer": "adamw", "weight_decay": 0.0, "schedule": "constant", "gradient_clip": 1.0}
KL = "rollout_kl_student_teacher"
PRIVATE = ("ce", "kd", "opd")


def run(method: str, seed: int, *, steps: int, student: str | None = None, **settings: Any) -> dict[str, Any]:
    chosen = {"student": student} if student is not None else {}
    return {"method": method, "task": TASK, "seed": seed, "settings": settings, "budget": {"steps": steps}, **chosen}


def teacher(seed: int) -> dict[str, Any]:
    """The same one for every seed, on the public half."""
    return run("supervised", 0, steps=600, student="gpt2-2x64", batch_size=64, learning_rate=3e-3, **RECIPE)


def start(seed: int) -> dict[str, Any]:
    """The public start of all private arms."""
    return run("supervised", seed, steps=60, student="gpt2-1x32", batch_size=32, learning_rate=1e-3, **RECIPE)


def judged_start(seed: int, folders: Mapping[str, Path]) -> Mapping[str, float | None]:
    """How far the start is from the teacher, which its own run did not know."""
    import torch

    from engine.run.export import load_model
    from engine.spec import catalog

    task = catalog.load_task(TASK)(catalog.tasks()[TASK].options(), torch.device("cpu"))
    (student, _), (theirs, _) = load_model(folders["start-run"]), load_model(folders["teacher"])
    return task.judge(student, "test", teacher=theirs, final=False).metrics


def private(name: str, title: str, **settings: Any) -> Arm:
    return Arm(
        id=name,
        title=title,
        spec=lambda seed: run("dp-opd", seed, steps=100, epsilon=EPSILON, **settings),
        teachers=("teacher",),
        student="start-run",
    )


def within_the_budget(seed: OneSeed) -> bool:
    return all(EPSILON - 0.01 < seed[name]["validation/epsilon"] <= EPSILON for name in PRIVATE)


evidence = Evidence(
    method="dp-opd",
    protocol="""
The task `stdlib-private`: the text and networks of `stdlib-text`; the first 45 % are public, the next 45 % private, then 5 % validation and 5 % test. The
teacher is a GPT-2 of 2 layers of width 64, 600 steps of cross-entropy on 64 public windows, AdamW at 0.003, the same one for all seeds. The student has 1
layer of width 32 and begins after 60 steps on 32 public windows, AdamW at 0.001. The private arms have the first 4,000 records of 48 characters (16 read,
32 learned), ε = 2 at δ = 1/8,000, 64 records a batch on average, 100 steps, clip norm 0.5, Adam at 0.002. Nothing was tuned. A seed decides the start alone:
batches and noise are a secret of each run, so the command gives other numbers each time, and two arms of a seed differ by their luck as well.
""",
    arms=(
        Arm(id="teacher", title="teacher, public", spec=teacher),
        Arm(id="start-run", title="start, as trained", spec=start),
        Arm(id="start", title="start, beside the teacher", measured=judged_start),
        private("ce", "DP-SGD, cross-entropy", loss="labels", on_policy_share=0.0),
        private("kd", "λ = 0, forward KL", on_policy_share=0.0),
        private("half", "λ = 0.5, forward KL", on_policy_share=0.5),
        private("opd", "λ = 1, forward KL", on_policy_share=1.0),
    ),
    baseline="ce",
    metrics=(
        "perplexity",
        KL,
        "nll",
        "text_kl_teacher_student",
        "validation/epsilon",
        "validation/noise_multiplier",
        "validation/clipped_share",
    ),
    claims=(
        Claim(
            "Cross-entropy and distillation on the private text lower the perplexity of the public start.",
            *(lower("perplexity", name, "start") for name in ("ce", "kd")),
        ),
        Claim(
            "On-policy distillation, λ = 1, lowers the perplexity of the public start at the same ε.", lower("perplexity", "opd", "start")
        ),
        Claim("Distillation on the private text has a lower perplexity than DP-SGD.", lower("perplexity", "kd", "ce")),
        Claim("It is closer to the teacher on the test text.", lower("text_kl_teacher_student", "kd", "ce")),
        Claim(
            "On-policy distillation is closest to the teacher on the student's own text.",
            *(lower(KL, "opd", other) for other in ("kd", "ce")),
        ),
        Claim(
            "Every private run spends its budget and no more.",
            identity(f"ε in ({EPSILON - 0.01:g}, {EPSILON:g}] at the end", within_the_budget),
        ),
    ),
    notes="""
- The paper's gain in perplexity of on-policy over off-policy is not found with a student as weak as this and is not claimed: λ = 1 has the worse one.
- The claim on the test text was written down after seed 0 had been looked at.
- The teacher knows the public half alone, so its own perplexity on the test text is no bound.
""",
    published="""
Khadem et al. (2026), DistilGPT-2 taught by GPT-2 Large at ε = 2: perplexity 41.68 on Yelp (48.12 by DP-SGD, 44.15 by synthetic text), 30.63 on BigPatent
(41.80, 32.43). The specification's first runs, of another split: perplexity 21.5 at the start, 18.9 CE, 18.4 λ = 0, 20.1 λ = 1; KL 1.89, 1.84, 1.79.
""",
)
