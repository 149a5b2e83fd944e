"""What a person chooses when a student learns on its own text from a teacher that was asked only once."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec

Schedule = Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75"]


class Settings(TrainingSettings):
    mode: Literal["offline", "online"] = Field(
        "offline",
        description="offline: text and the teacher's word on it are made once, before. online: both are made anew at every step, for comparison.",
    )
    sft_steps: int = Field(
        300,
        ge=0,
        le=10_000_000,
        title="SFT steps",
        description="Steps of cross-entropy on text that the teacher wrote; 0 where the student has had them.",
    )
    sft_rows: int = Field(2048, ge=1, le=10_000_000, title="SFT rows", description="Pieces of text that the teacher writes for that.")
    sft_batch_size: int = Field(32, ge=1, le=65536, title="SFT batch size", description="Pieces in one step of that phase.")
    sft_learning_rate: float = Field(3e-3, gt=0, le=100, title="SFT learning rate", description="Step size at the start of that phase.")
    sft_schedule: Schedule = Field("constant", title="SFT schedule", description="Schedule of the learning rate over that phase.")
    allow_other_teacher: bool = Field(
        False, description="Go on although the second teacher, which writes the text of the first phase, is another one than the first."
    )
    cache_rows: int = Field(2048, ge=1, le=10_000_000, description="Completions that the student writes once and the teacher scores once.")
    num_generations: int = Field(1, ge=1, le=1024, description="Completions of the same prompt.")
    rollout_batch_size: int = Field(
        256, ge=1, le=65536, description="Completions written and scored at once. Changes memory, time and chance."
    )
    sampling_temperature: float = Field(
        1.0, gt=0, le=100, description="Temperature at which the student writes; 1 is unbiased. What is learned from is always at 1."
    )
    prompt_tokens: int = Field(16, ge=1, le=100_000, description="Tokens of the training text before each completion.")
    max_new_tokens: int = Field(32, ge=1, le=100_000, description="Longest completion in tokens.")
    advantage_clip: float | None = Field(
        10.0, gt=0, le=1e6, description="Largest size τ of a token's advantage; empty for no limit, as in the released code."
    )
    clip_low: float = Field(
        0.2, ge=0, lt=1, description="How far below 1 the probability ratio may count; without effect at one update a batch."
    )
    clip_high: float = Field(
        0.2, ge=0, le=100, description="How far above 1 the probability ratio may count; without effect at one update a batch."
    )
    updates_per_batch: int = Field(1, ge=1, le=1000, description="Updates from one batch, against the advantages at its start.")
    importance_weights: bool = Field(
        False,
        description="Weigh each token by its probability now over that at the start. Unbiased, but of a variance that the method avoids.",
    )
    batch_size: int = Field(32, ge=1, le=65536, description="Completions in one optimizer step.")
    learning_rate: float = Field(1e-4, gt=0, le=100, description="Step size at the start of the schedule.")
    schedule: Schedule = Field("constant", description="Schedule of the learning rate over the last phase.")


def check(spec: "RunSpec") -> list[Problem]:
    """What the phases do not allow together."""
    settings = Settings.model_validate(spec.settings)
    problems = []
    if settings.updates_per_batch > 1 and settings.gradient_accumulation_steps > 1:
        problems.append(
            Problem(
                "settings.gradient_accumulation_steps",
                f"must be 1 with several updates a batch, each of which needs all of it; got {settings.gradient_accumulation_steps}.",
            )
        )
    if settings.sft_steps == 0 and len(spec.teachers) > 1:
        problems.append(Problem("teachers", "must be one without the phase sft, which the second one writes the text of; got 2."))
    if settings.sft_steps == 0 and spec.student is not None and spec.student.source == "builtin":
        problems.append(
            Problem(
                "settings.sft_steps",
                "must be at least 1 for a student without trained weights, whose text nothing is to be learned from; got 0.",
            )
        )
    if settings.importance_weights and settings.mode == "online":
        problems.append(Problem("settings.importance_weights", "must be false online, where text is always the student's own; got true."))
    return problems


card = MethodCard(
    id="lightning-opd",
    version=1,
    family="on-policy",
    title="Lightning on-policy distillation",
    summary="The student, first trained on the teacher's text, writes once; the teacher scores that once; then the student trains on the stored scores, without a teacher.",
    paper="arXiv:2604.13010",
    settings=Settings,
    student=Needs("causal-lm", trained_weights=False),
    teachers=Needs("causal-lm", at_most=2),
    task="stdlib-text",
    steps=150,
    baseline=None,
    check=check,
    presets={
        "small": Preset("300 steps on the teacher's text, 2,048 completions stored, 150 steps of 32 of them.", budget={"steps": 150}),
        "paper": Preset(
            "As published: 3,000 steps on the teacher's text, 17,000 completions at temperature 0.8, 150 steps of 256.",
            settings={
                "sft_steps": 3000,
                "sft_rows": 17_000,
                "sft_batch_size": 256,
                "sft_learning_rate": 8e-5,
                "sft_schedule": "cosine",
                "cache_rows": 17_000,
                "sampling_temperature": 0.8,
                "max_new_tokens": 4096,
                "batch_size": 256,
                "learning_rate": 2e-6,
                "weight_decay": 0.1,
            },
            budget={"steps": 150},
        ),
        "tiny": Preset(
            "A second on one core.",
            settings={
                "sft_steps": 4,
                "sft_rows": 12,
                "sft_batch_size": 4,
                "cache_rows": 20,
                "rollout_batch_size": 6,
                "batch_size": 6,
                "prompt_tokens": 4,
                "max_new_tokens": 6,
            },
            budget={"steps": 5},
        ),
    },
)
