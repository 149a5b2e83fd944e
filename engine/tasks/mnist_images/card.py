"""Real MNIST pictures, to be made and not read."""

from typing import Any

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import INCEPTION_ENVIRONMENT, PictureGenerationOptions

TRAIN, VALIDATION, TEST = 3500, 500, 1000
SIGMA_DATA = 0.616


class Options(PictureGenerationOptions):
    """The cut is fixed: all numbers of this task are against the same rows."""


def _sampled(**sizes: Any) -> dict[str, Any]:
    grid = {"levels": [], "sampler_steps": 18, "sigma_min": 0.02, "sigma_max": 20.0}
    return {**sizes, "classes": 10, "sigma_data": SIGMA_DATA, **grid}


card = TaskCard(
    id="mnist-images",
    version=1,
    title="MNIST 28×28, generated",
    summary="Make handwritten digits of 28×28 pixels, one class at a time: 5,000 real MNIST digits, 500 of each class, cut as for reading them into "
    "3,500 for training, 500 for validation and 1,000 for the test.",
    kind="generator",
    also=("denoiser",),
    options=Options,
    input_shape=(1, 28, 28),
    classes=10,
    train_rows=TRAIN,
    architectures={
        "edm-mlp-1024": Architecture(
            "edm_mlp",
            _sampled(inputs=784, width=1024, blocks=2),
            "A residual perceptron with EDM's preconditioning, 9,005,840 weights; wider than a picture has pixels, since noise has as many directions.",
            ("teacher", "student"),
        ),
        "edm-unet": Architecture(
            "edm_unet",
            _sampled(channels=1, widths=[32, 64, 64]),
            "A small U-Net with 32, 64 and 64 channels and EDM's preconditioning, 538,913 weights; for a GPU: on a CPU a step takes seconds.",
            ("teacher", "student"),
        ),
    },
    student="edm-mlp-1024",
    teacher="edm-mlp-1024",
    teacher_method="denoising",
    teacher_preset=Preset("A denoiser of MNIST: 2,500 steps of the EDM loss, the average of the weights."),
    headline=("fid_mnist_pca_32", "conditional_accuracy", "diversity", "evaluations"),
    extra="mnist",
    reward="confidence",
    environment=INCEPTION_ENVIRONMENT,
)
