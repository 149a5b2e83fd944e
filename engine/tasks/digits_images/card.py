"""Real pictures of digits, to be made and not read."""

from engine.spec.cards import Architecture, Preset, TaskCard
from engine.tasks.options import INCEPTION_ENVIRONMENT, PictureGenerationOptions

TRAIN, VALIDATION, TEST = 1197, 300, 300
SIGMA_DATA = 0.752


class Options(PictureGenerationOptions):
    """The cut is fixed: all numbers of this task are against the same rows."""


card = TaskCard(
    id="digits-images",
    version=1,
    title="Digits 8×8, generated",
    summary="Make handwritten digits of 8×8 pixels, one class at a time: 1,797 real ones from scikit-learn, cut into 1,197 for training, 300 for validation and 300 for the test.",
    kind="generator",
    also=("denoiser",),
    options=Options,
    input_shape=(1, 8, 8),
    classes=10,
    train_rows=TRAIN,
    architectures={
        "edm-mlp": Architecture(
            "edm_mlp",
            {
                "inputs": 64,
                "width": 128,
                "blocks": 3,
                "classes": 10,
                "sigma_data": SIGMA_DATA,
                "levels": [],
                "sampler_steps": 18,
                "sigma_min": 0.02,
                "sigma_max": 20.0,
            },
            "A residual perceptron with EDM's preconditioning, 188,352 weights; denoiser and generator alike.",
            ("teacher", "student"),
        ),
    },
    student="edm-mlp",
    teacher="edm-mlp",
    teacher_method="denoising",
    teacher_preset=Preset("The denoiser of the digits bench: 2,500 steps of the EDM loss, the average of the weights."),
    headline=("fid_digits_pca_20", "conditional_accuracy", "diversity", "evaluations"),
    reward="confidence",
    environment=INCEPTION_ENVIRONMENT,
)
