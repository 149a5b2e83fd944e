"""How a method's settings become the configuration of the set that it makes."""

from collections.abc import Mapping
from typing import Any

from engine.distilled_sets.settings import SetSettings
from engine.spec.cards import TaskCard

BLUEPRINT = ("architecture", "builder", "config")


def config_of(
    settings: SetSettings, card: TaskCard, network: Mapping[str, Any], *, learned_rate: bool, soft_labels: bool, averaged: bool
) -> dict[str, Any]:
    """Fields of engine.models.set_configs.SyntheticSetConfig: a set for a task, and for the architecture whose blueprint `network` is. The
    settings must be those of a checked spec: the unseen architectures are the card's."""
    assert card.classes is not None, f"{card.id} is no classification task"
    known = card.architectures
    return {
        "rows": settings.images_per_class * card.classes,
        "shape": list(card.input_shape),
        "classes": card.classes,
        "soft_labels": soft_labels,
        "learned_rate": learned_rate,
        "averaged": averaged,
        "network": {name: network[name] for name in BLUEPRINT},
        "unseen": [{"architecture": name, "builder": known[name].builder, "config": dict(known[name].config)} for name in settings.unseen],
        "recipe": {
            "networks": settings.networks,
            "steps": settings.network_steps,
            "learning_rate": settings.network_learning_rate,
            "unseen_learning_rate": settings.unseen_learning_rate,
            "augmentation": list(settings.augmentation),
            "baselines": settings.baselines,
        },
    }
