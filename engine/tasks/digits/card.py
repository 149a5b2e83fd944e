"""scikit-learn's digits: 1,797 real pictures of 8×8 pixels, ten classes."""

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import ClassificationOptions

TRAIN, VALIDATION, TEST = 1200, 297, 300


PARTS = {"1200-297-300": (TRAIN, VALIDATION, TEST), "1097-200-500": (1097, 200, 500)}


class Options(ClassificationOptions):
    train_limit: int | None = Field(None, ge=1, le=TRAIN, description="Train on only the first so many training rows; empty for all 1,200.")
    parts: Literal["1200-297-300", "1097-200-500"] = Field(
        "1200-297-300", description="Rows for training, validation and test; the second is the cut of the data set distillation protocol."
    )
    pixels: Literal["standardized", "fixed"] = Field(
        "standardized",
        description="standardized divides by the training rows' deviation, pixel by pixel; fixed takes 0.3 off every pixel and divides by 0.37.",
    )

    @model_validator(mode="before")
    @classmethod
    def _limit_is_the_part(cls, data: Any) -> Any:
        """A limit of all rows is said as a number where there are fewer than the card counts, so that an epoch is one of these rows."""
        if not isinstance(data, dict) or data.get("parts", "1200-297-300") not in PARTS:
            return data
        rows = PARTS[data.get("parts", "1200-297-300")][0]
        if rows == TRAIN:
            return data
        limit = data.get("train_limit")
        return {**data, "train_limit": min(limit, rows) if isinstance(limit, int) else limit or rows}


card = TaskCard(
    id="digits",
    version=1,
    title="Digits 8×8",
    summary="1,797 real handwritten digits of 8×8 pixels from scikit-learn, cut into 1,200 for training, 297 for validation and 300 for the test.",
    kind="classifier",
    also=("dataset",),
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
        "mlp-64": Architecture("mlp", {"inputs": 64, "hidden": [64], "classes": 10}, "One hidden layer of 64."),
        "convnet": Architecture(
            "convnet",
            {"channels": 1, "width": 24, "depth": 2, "grid": 2, "classes": 10},
            "Two blocks of convolution, instance norm and pooling with 24 channels; what data sets are distilled for.",
        ),
        "lenet": Architecture(
            "lenet",
            {"channels": 1, "widths": [6, 16], "hidden": [120, 84], "grid": 2, "classes": 10},
            "A LeNet: two convolutions and three linear layers.",
        ),
    },
    student="mlp-16",
    students={"dataset": "convnet"},
    teacher="mlp-128-128",
    teacher_preset=Preset(
        "The teacher of the digits protocol: AdamW at 0.003 for 40 epochs, cross-entropy on all training rows.",
        settings={"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.0, "schedule": "cosine-per-epoch", "batch_size": 64},
        budget={"epochs": 40},
    ),
    headline=("accuracy", "nll", "ece"),
)
