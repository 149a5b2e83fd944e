"""Python's documentation by chapter: passages of text to be classified, which every installation has."""

from pydantic import Field

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import LabelOptions
from engine.tasks.stdlib_topics.text import AREAS, ROWS

TRAIN, VALIDATION, TEST = 900, 200, 300
assert TRAIN + VALIDATION + TEST == ROWS
LENGTH, WORDS = 80, 2048


class Options(LabelOptions):
    train_limit: int | None = Field(None, ge=1, le=TRAIN, description="Train on only the first so many training rows; empty for all 900.")


def students(*, words: int, length: int) -> dict[str, Architecture]:
    """The small networks for rows of `length` words."""
    shared = {"vocabulary": words, "classes": len(AREAS)}
    sizes = {**shared, "layers": 2, "heads": 4, "length": length}
    return {
        "bert-2x64": Architecture("bert", {**sizes, "width": 64, "mlp_width": 256}, "BERT with two layers of width 64; the usual student."),
        "bert-2x128": Architecture(
            "bert", {**sizes, "width": 128, "mlp_width": 512}, "BERT with two layers of width 128.", ("teacher", "student")
        ),
        "word-bag-64": Architecture("word_bag", {**shared, "width": 64}, "The mean of 64 numbers a word, whatever the words' order."),
    }


card = TaskCard(
    id="stdlib-topics",
    version=1,
    title="Python's documentation, by chapter",
    summary="1,400 passages of the help texts that come with Python, from 14 chapters and sections of the manuals, in 2,048 byte pairs: 900 for "
    "training, 200 for validation and 300 for the test.",
    kind="classifier",
    options=Options,
    input_shape=(LENGTH,),
    classes=len(AREAS),
    words=WORDS,
    train_rows=TRAIN,
    architectures=students(words=WORDS, length=LENGTH),
    student="bert-2x64",
    teacher="bert-2x128",
    teacher_preset=Preset(
        "AdamW at 0.001 for 20 epochs of cross-entropy.",
        settings={"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "schedule": "cosine-per-epoch", "batch_size": 32},
        budget={"epochs": 20},
    ),
    headline=("accuracy", "nll", "ece"),
)
