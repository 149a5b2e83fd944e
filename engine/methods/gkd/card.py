"""What a person chooses when a language model learns from a teacher on its own samples."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    beta: float = Field(
        0.5,
        ge=0,
        le=1,
        description="The divergence: 0 is KL(teacher ‖ student), 1 is KL(student ‖ teacher), between them a Jensen-Shannon divergence whose "
        "mixture has so large a share of the teacher. Near an end the loss is small, not nearly that KL.",
    )
    on_policy_share: float = Field(
        1.0, ge=0, le=1, description="Chance λ that the student writes the completions itself; else they are the text, or the teacher's."
    )
    coin: Literal["batch", "example"] = Field("batch", description="Whether that chance is drawn once a batch or for each prompt.")
    seq_kd: bool = Field(
        False,
        title="Seq KD",
        description="Completions that the student does not write are sampled from the teacher, not taken from the text.",
    )
    sampling_temperature: float = Field(1.0, gt=0, le=100, description="Divides the logits when completions are sampled.")
    temperature: float = Field(1.0, gt=0, le=1e6, description="Divides both models' logits in the loss.")
    scale_by_temperature: bool = Field(False, description="Multiply the loss by the square of its temperature.")
    prompt_tokens: int = Field(16, ge=1, le=100_000, description="Tokens of training text before each completion.")
    max_new_tokens: int = Field(32, ge=1, le=100_000, description="Longest completion; with the prompt it must fit both models' context.")
    num_generations: int = Field(
        1, ge=1, le=256, description="Completions sampled for each prompt; one that is the text itself stands in the batch as often."
    )
    reduction: Literal["batchmean", "sum", "mean"] = Field(
        "batchmean",
        description="How tokens become a loss: mean over the batch's real tokens, their sum, or the mean over tokens and vocabulary.",
    )
    disable_dropout: bool = Field(True, description="No dropout in the student while it learns.")
    batch_size: int = Field(32, ge=1, le=65536, description="Prompts in one optimizer step.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Step size at the start of the schedule.")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75"] = Field(
        "constant", description="Schedule of the learning rate over the budget, as in supervised training."
    )
    gradient_clip: float | None = Field(1.0, gt=0, description="Largest norm of the gradient over all parameters; empty for no clipping.")


def check(spec: "RunSpec") -> list[Problem]:
    """A built-in student's context is known before it is built."""
    assert spec.student is not None
    if spec.student.source != "builtin":
        return []
    config = {**spec.task_card.architectures[spec.student.name].config, **spec.student.config}
    longest = config["positions"] - spec.settings["prompt_tokens"]
    if spec.settings["max_new_tokens"] <= longest:
        return []
    return [
        Problem(
            "settings.max_new_tokens",
            f"must be at most {longest}, what a prompt of {spec.settings['prompt_tokens']} leaves of the student's {config['positions']} "
            f"positions; got {spec.settings['max_new_tokens']}.",
        )
    ]


card = MethodCard(
    id="gkd",
    version=2,
    family="on-policy",
    title="Generalized knowledge distillation",
    summary="A language model matches its teacher token by token on completions that it samples itself, so that it learns at the states which "
    "its own writing leads to.",
    paper="arXiv:2306.13649",
    settings=Settings,
    student=Needs("causal-lm", trained_weights=False),
    teachers=Needs("causal-lm"),
    check=check,
    task="stdlib-text",
    steps=150,
    presets={
        "small": Preset("150 steps of 32 prompts of 16 characters with completions of 32, all the student's own; AdamW at 0.001."),
        "paper": Preset(
            "Half of the batches the student's own, 128 new tokens at temperature 0.9, AdamW at 0.00005, as in TRL; for models with a longer "
            "context than the built-in ones set max_new_tokens to 128.",
            settings={"on_policy_share": 0.5, "sampling_temperature": 0.9, "learning_rate": 5e-5},
        ),
        "tiny": Preset(
            "A second on one core.",
            settings={"batch_size": 4, "prompt_tokens": 4, "max_new_tokens": 4, "coin": "example", "on_policy_share": 0.5},
            budget={"steps": 6},
        ),
    },
)
