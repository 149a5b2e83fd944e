"""What a person chooses when a data set is distilled by matching training trajectories."""

from engine.distilled_sets.settings import BUFFERS_ENVIRONMENT, TrajectorySettings, check_matching
from engine.spec.cards import MethodCard, Needs, Preset


class Settings(TrajectorySettings):
    pass


TINY = {
    "experts": 2,
    "expert_epochs": 3,
    "max_start_epoch": 2,
    "matched_epochs": 1,
    "inner_steps": 2,
    "expert_batch_size": 75,
    "networks": 2,
    "network_steps": 4,
}
"""Settings of a run of a second, for both methods that match trajectories."""


card = MethodCard(
    id="mtt",
    version=1,
    family="dataset distillation",
    title="Matching training trajectories",
    summary="A few pictures for each class are made so that a network trained on them alone moves as networks did that were trained on all real rows.",
    paper="arXiv:2203.11932",
    settings=Settings,
    student=Needs("dataset", trained_weights=False),
    baseline=None,
    steps=200,
    check=check_matching,
    environment=BUFFERS_ENVIRONMENT,
    presets={
        "small": Preset("One picture a class on digits, from four experts of twelve epochs, 200 iterations: about half a minute."),
        "paper": Preset(
            "Ten pictures a class as published for CIFAR-10 with the ConvNet: 100 experts of 50 epochs, 5,000 iterations.",
            settings={
                "images_per_class": 10,
                "experts": 100,
                "expert_epochs": 50,
                "expert_learning_rate": 0.01,
                "expert_batch_size": 256,
                "inner_steps": 30,
                "matched_epochs": 2,
                "max_start_epoch": 20,
                "image_rate": 1000.0,
                "learned_rate_start": 0.01,
                "learned_rate_rate": 1e-5,
                "augmentation": ["color", "crop", "cutout", "flip", "scale", "rotate"],
                "network_steps": 1000,
                "network_learning_rate": 0.01,
            },
            budget={"steps": 5000},
        ),
        "tiny": Preset("A second on one core.", settings=TINY, budget={"steps": 6}),
    },
)
