"""What a person chooses when training on labels alone."""

from pydantic import Field

from engine.spec.cards import TINY, MethodCard, Needs, Preset, TrainingSettings, cifar_recipe


class Settings(TrainingSettings):
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target that is spread evenly over all classes; 0 for plain cross-entropy."
    )


card = MethodCard(
    id="supervised",
    version=1,
    family="baseline",
    title="Supervised training",
    summary="Cross-entropy on the labels, or on the next token, with no teacher: how teachers are made, and what every distilled student is compared with.",
    paper="arXiv:1512.00567",
    settings=Settings,
    student=Needs(("classifier", "causal-lm"), trained_weights=False),
    data_parallel=True,
    presets={
        "small": Preset("AdamW at 0.01 for 60 epochs with a cosine: the student of the digits protocol."),
        "paper": cifar_recipe("the distillation literature"),
        "tiny": TINY,
    },
    baseline=None,
)
