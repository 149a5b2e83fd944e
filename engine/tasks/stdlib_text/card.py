"""Python's documentation, character by character: a text that every installation has."""

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.language_options import LanguageOptions
from engine.tasks.stdlib_text.text import PARTS

WINDOW, SYMBOLS, CONTEXT = 48, 48, 64


class Options(LanguageOptions):
    pass


def _gpt2(width: int, layers: int) -> dict[str, int]:
    return {"vocabulary": SYMBOLS, "width": width, "layers": layers, "heads": 4, "positions": CONTEXT}


card = TaskCard(
    id="stdlib-text",
    version=1,
    title="Python's documentation, by character",
    summary="465,000 characters of the help texts that come with Python, in 48 symbols, cut into 80 % training, 10 % validation and 10 % test.",
    kind="causal-lm",
    options=Options,
    input_shape=(WINDOW,),
    classes=SYMBOLS,
    train_rows=len(PARTS["train"]) - WINDOW,
    architectures={
        "gpt2-2x64": Architecture("gpt2", _gpt2(64, 2), "GPT-2 with two layers of width 64; the usual teacher.", ("teacher", "student")),
        "gpt2-1x32": Architecture("gpt2", _gpt2(32, 1), "GPT-2 with one layer of width 32; the usual student."),
        "llama-2x64": Architecture(
            "llama",
            {**_gpt2(64, 2), "mlp_width": 176, "kv_heads": 4},
            "Llama with two layers of width 64, for methods that need its kind of attention.",
            ("teacher", "student"),
        ),
        "bigram": Architecture(
            "bigram",
            {"vocabulary": SYMBOLS, "positions": CONTEXT},
            "A table of the next character by the last one.",
            ("teacher", "student"),
        ),
        "llama-1x32": Architecture("llama", {**_gpt2(32, 1), "mlp_width": 88, "kv_heads": 4}, "Llama with one layer of width 32."),
    },
    student="gpt2-1x32",
    teacher="gpt2-2x64",
    teacher_preset=Preset(
        "AdamW at 0.003, 600 steps of 64 windows of 48 characters.",
        settings={
            "optimizer": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 0.0,
            "schedule": "constant",
            "batch_size": 64,
            "gradient_clip": 1.0,
        },
        budget={"steps": 600},
    ),
    headline=("rollout_kl_student_teacher", "nll", "perplexity"),
)
