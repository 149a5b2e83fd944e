"""What a person chooses when a Llama's attention becomes latent attention."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from engine.errors import Problem
from engine.spec.cards import MethodCard, Needs, Preset, TrainingSettings

if TYPE_CHECKING:
    from engine.spec.run_spec import RunSpec


class Settings(TrainingSettings):
    rank_choice: Literal["fixed", "energy"] = Field(
        "fixed", description="fixed gives every layer the same ranks, energy lets each layer take as many as keep a share of its energy."
    )
    kv_rank: int = Field(
        24,
        ge=1,
        le=65536,
        title="KV rank",
        description="Numbers of a token's key and value latent, rounded up to a multiple of the divisor: the cache's size.",
    )
    q_rank: int | None = Field(
        None,
        ge=1,
        le=65536,
        description="Numbers of a token's query latent, rounded up likewise; empty for the model's width. It is not cached.",
    )
    kv_energy: float = Field(
        0.95, gt=0, le=1, title="KV energy", description="With energy: share of the squared singular values of keys and values to keep."
    )
    q_energy: float = Field(0.95, gt=0, le=1, description="With energy: share of the squared singular values of the queries to keep.")
    rank_divisor: int = Field(8, ge=1, le=1024, description="Ranks are rounded up to a multiple of this.")
    fixed_rank_ends: bool = Field(False, description="With energy: give the first and the last layer the fixed ranks all the same.")
    rope_width: int | None = Field(
        None,
        ge=2,
        le=1024,
        description="Numbers of the rotated key that all heads share, which is cached beside the latent; even; empty for half of a head.",
    )
    mla_layers: list[Annotated[int, Field(ge=0, le=1023)]] = Field(
        default_factory=list,
        max_length=1024,
        title="MLA layers",
        description="Which layers to convert, from 0; empty for all. The others keep their attention.",
    )
    initialization: Literal["svd", "random"] = Field(
        "svd", description="svd makes the new weights from the old ones; random draws them, to see what that is worth."
    )
    latent_norm: bool = Field(
        False, description="Put an RMSNorm on both latents. It destroys the match that svd begins with, and no published model has it."
    )
    freeze_non_mla: bool = Field(
        False, title="Freeze non MLA", description="Train only the converted layers' attention, and keep everything else as it was."
    )
    kl_weight: float = Field(
        1.0, ge=0, le=1e6, title="KL weight", description="Weight of KL(teacher ‖ student), at every position over the whole vocabulary."
    )
    ce_weight: float = Field(0.0, ge=0, le=1e6, title="CE weight", description="Weight of the cross-entropy with the text's next token.")
    reduction: Literal["token_mean", "batch_mean"] = Field(
        "token_mean",
        description="How the KL is summed up: the mean over tokens, or the sum over tokens divided by the rows, as many times larger as a row has tokens.",
    )
    compared_ranks: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        default_factory=lambda: [8, 16, 24, 40, 56],
        max_length=16,
        description="Ranks at which the conversion is also tried before training, for a picture of compression against quality; empty for none.",
    )
    dpo_steps: int = Field(
        0,
        ge=0,
        le=1_000_000,
        title="DPO steps",
        description="Steps of preference training after the distillation, beyond the budget; 0 for none.",
    )
    dpo_beta: float = Field(
        0.01, gt=0, le=1000, title="DPO beta", description="DPO's β: how strongly it is held to the model that the distillation left."
    )
    dpo_learning_rate: float = Field(
        5e-7, gt=0, le=100, title="DPO learning rate", description="Step size of the preference training, by the same schedule."
    )
    dpo_pairs: int = Field(
        64,
        ge=1,
        le=100_000,
        title="DPO pairs",
        description="Preference pairs: two samples of the student for a prompt, ranked by the teacher.",
    )
    dpo_prompt_tokens: int = Field(
        16, ge=1, le=65536, title="DPO prompt tokens", description="Tokens of a training row that such a prompt has."
    )
    dpo_completion_tokens: int = Field(
        32, ge=1, le=65536, title="DPO completion tokens", description="Tokens that the student writes for each sample of a pair."
    )
    batch_size: int = Field(16, ge=1, le=65536, description="Rows of the data set in one optimizer step.")
    learning_rate: float = Field(1e-3, gt=0, le=100, description="Step size at the start of the schedule.")
    schedule: Literal["constant", "cosine", "cosine-per-epoch", "step", "step-50-75"] = Field(
        "cosine",
        description="Schedule of the learning rate over the budget: constant; half a cosine to 0, by step or constant inside each epoch; "
        "×0.1 at 62.5, 75 and 87.5 %; or ×0.1 at 50 and 75 %.",
    )


def check(spec: "RunSpec") -> list[Problem]:
    """What is known without opening the source."""
    settings, problems = spec.settings, []
    if settings["rope_width"] is not None and settings["rope_width"] % 2:
        problems.append(
            Problem("settings.rope_width", f"must be even, because positions turn pairs of numbers; got {settings['rope_width']}.")
        )
    if settings["kl_weight"] == 0 and settings["ce_weight"] == 0:
        problems.append(
            Problem("settings.kl_weight", "must be greater than 0 where ce_weight is 0, or there is nothing to train on; got 0.")
        )
    if settings["fixed_rank_ends"] and settings["rank_choice"] == "fixed":
        problems.append(
            Problem("settings.fixed_rank_ends", "has no meaning with rank_choice fixed, which fixes all layers; choose energy.")
        )
    window = spec.task_card.input_shape[0]
    wanted = settings["dpo_prompt_tokens"] + settings["dpo_completion_tokens"]
    if settings["dpo_steps"] and wanted > window:
        problems.append(
            Problem(
                "settings.dpo_completion_tokens",
                f"must leave prompt and completion within a row's {window} tokens; got {settings['dpo_prompt_tokens']} + {settings['dpo_completion_tokens']}.",
            )
        )
    return problems


card = MethodCard(
    id="x-ecomla",
    version=1,
    family="architecture conversion",
    title="X-EcoMLA: attention into latent attention",
    summary="A trained Llama's attention is rewritten as latent attention, by singular value decompositions, and mended by a teacher: the cache shrinks several times.",
    paper="arXiv:2503.11132",
    settings=Settings,
    student=Needs("causal-lm", trained_weights=True),
    teachers=Needs("causal-lm"),
    check=check,
    baseline=None,
    task="stdlib-source",
    steps=60,
    presets={
        "small": Preset("Both layers of a small character model at rank 24, 60 steps of AdamW at 0.001 with a cosine."),
        "paper": Preset(
            "The published setting for a model of one billion weights at 6.4 times less cache: ranks 128 and 1344, AdamW at 0.00008.",
            settings={"kv_rank": 128, "q_rank": 1344, "learning_rate": 8e-5, "batch_size": 24, "compared_ranks": []},
            budget={"epochs": 1},
        ),
        "tiny": Preset(
            "Six steps of distillation and four of preferences.",
            settings={
                "kv_rank": 8,
                "batch_size": 4,
                "compared_ranks": [],
                "dpo_steps": 4,
                "dpo_pairs": 4,
                "dpo_prompt_tokens": 4,
                "dpo_completion_tokens": 4,
            },
            budget={"steps": 6},
        ),
    },
)
