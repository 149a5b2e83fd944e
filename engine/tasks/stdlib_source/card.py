"""Python's standard library, character by character: code that every installation has."""

from pydantic import Field

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.language_options import LanguageOptions

WINDOW, SYMBOLS, CONTEXT = 64, 101, 256
SIZES = {"train": 400_000, "validation": 100_000, "test": 100_000}
"""Characters of each part: fixed, so that one more line in a newer library changes no count."""


class Options(LanguageOptions):
    evaluation_prompts: int = Field(
        32, ge=1, le=4096, description="Equally spaced places of a split at which a model is judged: one window and one completion each."
    )


def _llama(width: int, layers: int) -> dict[str, int]:
    return {
        "vocabulary": SYMBOLS,
        "width": width,
        "layers": layers,
        "heads": width // 16,
        "kv_heads": width // 32,
        "mlp_width": 4 * width,
        "positions": CONTEXT,
    }


card = TaskCard(
    id="stdlib-source",
    version=1,
    title="Python's source, by character",
    summary="600,000 characters of Python's standard library in 101 symbols: 400,000 for training, and other files for validation and test.",
    kind="causal-lm",
    options=Options,
    input_shape=(WINDOW,),
    classes=SYMBOLS,
    train_rows=SIZES["train"] - WINDOW,
    architectures={
        "llama-2x64": Architecture(
            "llama", _llama(64, 2), "Llama with two layers of width 64: four heads, two of keys and values.", ("teacher", "student")
        ),
        "llama-3x96": Architecture(
            "llama", _llama(96, 3), "Llama with three layers of width 96: a larger teacher.", ("teacher", "student")
        ),
    },
    student="llama-2x64",
    teacher="llama-2x64",
    teacher_preset=Preset(
        "AdamW at 0.002 with a cosine, 300 steps of 16 windows of 64 characters.",
        settings={"optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.0, "schedule": "cosine", "batch_size": 16},
        budget={"steps": 300},
    ),
    headline=("nll", "perplexity", "kv_bytes_per_token"),
)
