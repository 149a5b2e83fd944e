"""What a person chooses when training on labels alone."""

from pydantic import Field

from engine.cards import MethodCard, Needs, Preset, TrainingSettings


class Settings(TrainingSettings):
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of each target that is spread evenly over all classes; 0 for plain cross-entropy."
    )


card = MethodCard(
    id="supervised",
    version=1,
    family="baseline",
    title="Supervised training",
    summary="Cross-entropy on the labels, with no teacher: how teachers are made, and what every distilled student is compared with.",
    paper="arXiv:1512.00567",
    settings=Settings,
    student=Needs("classifier", trained_weights=False),
    data_parallel=True,
    presets={
        "small": Preset("AdamW at 0.01 for 60 epochs with a cosine: the student of the digits protocol."),
        "paper": Preset(
            "The CIFAR-100 recipe of the distillation literature: SGD at 0.05, divided by ten three times, 240 epochs.",
            settings={
                "optimizer": "sgd",
                "learning_rate": 0.05,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "schedule": "step",
            },
            budget={"epochs": 240},
        ),
        "tiny": Preset("A few seconds on one core.", budget={"epochs": 3}),
    },
    baseline=None,
)
