"""scikit-learn's digits: 1,797 real pictures of 8×8 pixels, ten classes."""

from pydantic import Field

from engine.cards import Architecture, Preset, TaskCard
from engine.tasks.options import ClassificationOptions

TRAIN, VALIDATION, TEST = 1200, 297, 300


class Options(ClassificationOptions):
    train_limit: int | None = Field(None, ge=1, le=TRAIN, description="Train on only the first so many training rows; empty for all 1,200.")


card = TaskCard(
    id="digits",
    version=1,
    title="Digits 8×8",
    summary="1,797 real handwritten digits of 8×8 pixels from scikit-learn, cut into 1,200 for training, 297 for validation and 300 for the test.",
    kind="classifier",
    options=Options,
    input_shape=(1, 8, 8),
    classes=10,
    train_rows=TRAIN,
    architectures={
        "mlp-128-128": Architecture(
            "mlp",
            {"inputs": 64, "hidden": [128, 128], "classes": 10},
            "Two hidden layers of 128; the usual teacher.",
            ("teacher", "student"),
        ),
        "mlp-64-64": Architecture(
            "mlp", {"inputs": 64, "hidden": [64, 64], "classes": 10}, "Two hidden layers of 64.", ("teacher", "student")
        ),
        "mlp-16": Architecture("mlp", {"inputs": 64, "hidden": [16], "classes": 10}, "One hidden layer of 16; the usual student."),
        "resnet-small": Architecture(
            "resnet",
            {"channels": 1, "widths": [16, 32], "blocks": 1, "grid": 4, "stem_stride": 1, "classes": 10},
            "A residual network of two stages with 16 and 32 channels.",
            ("teacher", "student"),
        ),
        "cnn-narrow": Architecture(
            "narrow_cnn", {"channels": 1, "widths": [8, 16], "grid": 2, "classes": 10}, "Two convolutions with 8 and 16 channels."
        ),
    },
    student="mlp-16",
    teacher="mlp-128-128",
    teacher_preset=Preset(
        "The teacher of the digits protocol: AdamW at 0.003 for 40 epochs, cross-entropy on all training rows.",
        settings={"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.0, "schedule": "cosine-per-epoch", "batch_size": 64},
        budget={"epochs": 40},
    ),
    headline=("accuracy", "nll", "ece"),
)
