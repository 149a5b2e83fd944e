"""What a person chooses when a language model is distilled from private text under differential privacy."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from engine.errors import Problem
from engine.methods.dp_opd.privacy import smallest_epsilon
from engine.spec.cards import MethodCard, MethodSettings, Needs, Preset

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(MethodSettings):
    """No micro-batches, no clipping of the batch's gradient, no weight decay: each would change what the accountant counts."""

    epsilon: float | None = Field(
        2.0,
        gt=0,
        le=10_000,
        description="The privacy budget ε at the last step; the noise follows from it. Empty where the noise is given.",
    )
    delta: float | None = Field(
        None, gt=0, lt=1, description="The chance δ that ε does not bound, below 1 / records; empty for 1 / (2 · records)."
    )
    noise_multiplier: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Standard deviation of the noise over the clip norm, in place of ε; 0 gives no privacy at all and is for comparisons.",
    )
    records: int = Field(
        4000,
        ge=1,
        le=100_000_000,
        description="Private records: the first so many consecutive, non-overlapping pieces of the private text.",
    )
    expected_batch: int = Field(
        64,
        ge=1,
        le=1_000_000,
        description="Records in a batch on average; each record is in a batch with the chance expected batch / records.",
    )
    clip_norm: float = Field(0.5, gt=0, le=1e9, description="Largest norm of one record's gradient over all parameters together.")
    loss: Literal["kd", "labels"] = Field(
        "kd", description="kd: the divergence from the teacher at each token. labels: cross-entropy on the private text, which is DP-SGD."
    )
    beta: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Divergence: 0 is KL(teacher ‖ student), 1 is KL(student ‖ teacher), between is the Jensen–Shannon mixture.",
    )
    on_policy_share: float = Field(
        0.5, ge=0, le=1, description="Chance λ of each record to be continued by the student in place of the private text."
    )
    temperature: float = Field(1.0, gt=0, le=100, description="Temperature τ of both models in the divergence.")
    prompt_tokens: int = Field(16, ge=1, le=100_000, description="Tokens of a record that are only read.")
    completion_tokens: int = Field(32, ge=1, le=100_000, description="Tokens of a record that are learned, or written by the student.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="What is done with the noisy gradient; SGD has no momentum.")
    learning_rate: float = Field(2e-3, gt=0, le=100, description="Step size, the same at every step.")
    gradients_at_once: int = Field(
        64, ge=1, le=65536, description="Records whose gradients are in memory at once. Changes memory and time only: noise is added once."
    )

    @property
    def delta_or_default(self) -> float:
        """δ, or 1/(2n)."""
        return 1 / (2 * self.records) if self.delta is None else self.delta

    @property
    def sampling_rate(self) -> float:
        """q = B/n."""
        return self.expected_batch / self.records


def check(spec: "RunSpec") -> list[Problem]:
    """Targets that can't be met, and settings of which only one can count."""
    settings = Settings.model_validate(spec.settings)
    problems = []
    if (settings.epsilon is None) == (settings.noise_multiplier is None):
        what = "neither" if settings.epsilon is None else "both"
        problems.append(
            Problem("settings.epsilon", f"must be given, or noise_multiplier in its place, with the other one empty; got {what}.")
        )
    if settings.expected_batch > settings.records:
        problems.append(
            Problem("settings.expected_batch", f"must be at most the {settings.records} records; got {settings.expected_batch}.")
        )
    if settings.delta_or_default >= 1 / settings.records:
        problems.append(
            Problem("settings.delta", f"must be less than 1 / records = {1 / settings.records:g}; got {settings.delta_or_default:g}.")
        )
    elif settings.epsilon is not None and settings.epsilon <= (least := smallest_epsilon(settings.delta_or_default)):
        problems.append(
            Problem(
                "settings.epsilon",
                f"must be greater than {least:.4f}, which no noise can go below at δ = {settings.delta_or_default:g}; got {settings.epsilon:g}.",
            )
        )
    if settings.loss == "labels" and settings.on_policy_share > 0:
        problems.append(
            Problem(
                "settings.on_policy_share",
                f"must be 0 with loss labels, which has no target on the student's text; got {settings.on_policy_share:g}.",
            )
        )
    if spec.budget is not None and spec.budget.epochs is not None:
        problems.append(Problem("budget.epochs", "must be empty: batches are drawn at random, not passed over; give steps."))
    if spec.precision == "float16":
        problems.append(Problem("precision", "must be float32 or bfloat16: gradients are clipped one by one, without a loss scale."))
    return problems


card = MethodCard(
    id="dp-opd",
    version=2,
    family="on-policy",
    title="Differentially private on-policy distillation",
    summary="The student learns from a teacher's view of its own continuations of private text, by clipped and noised gradients whose privacy loss ε is counted.",
    paper="arXiv:2604.04461",
    settings=Settings,
    student=Needs("causal-lm"),
    teachers=Needs("causal-lm"),
    task="stdlib-private",
    steps=100,
    baseline=None,
    secret_randomness=True,
    check=check,
    presets={
        "small": Preset("ε = 2 on 4,000 records of 48 characters, 100 steps of 64 records on average.", budget={"steps": 100}),
        "paper": Preset(
            "What the paper says, ε = 2 and forward KL; its clip norm, rate, batch and steps are not known and stand as in fine-tuning by "
            "others, records and their length as the task has them.",
            settings={"clip_norm": 1.0, "learning_rate": 1e-4, "expected_batch": 512},
            budget={"steps": 2000},
        ),
        "tiny": Preset(
            "Fourteen steps of eight records on average, with given noise.",
            settings={
                "epsilon": None,
                "noise_multiplier": 1.0,
                "records": 100,
                "expected_batch": 8,
                "prompt_tokens": 4,
                "completion_tokens": 6,
            },
            budget={"steps": 14},
        ),
    },
)
