"""Few labels on a target task, and the other tasks that sources for it are trained on: all from scikit-learn's digits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from engine.spec.cards import Architecture, Preset, TaskCard, TaskOptions

ROWS, POOL, VALIDATION = 1797, 900, 100
HIGH = 400
CLASSES = {"target": 5, "all": 10, "high": 5, "permuted": 10, "random": 5}


class Options(TaskOptions):
    part: Literal["target", "all", "high", "permuted", "random"] = Field(
        "target",
        description="target: digits 0 to 4 with few labels. The others make sources: all ten digits; high, 5 to 9; permuted, all ten with shuffled "
        "pixels; random, five classes drawn without looking.",
    )
    split_seed: int = Field(0, ge=0, lt=2**32, description="Seed of the cut; runs and their sources belong together only when it is equal.")
    labeled: int = Field(20, ge=10, le=60, description="Labeled rows of the target.")
    unlabeled: int = Field(200, ge=0, le=200, description="Unlabeled rows of the target.")


def changes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Classes, training rows and networks of a part."""
    part = options.get("part", "target")
    rows = {"target": options.get("labeled", 20), "high": HIGH}.get(part, POOL)
    return {"classes": CLASSES[part], "train_rows": rows, "architectures": _architectures(CLASSES[part])}


def _architectures(classes: int) -> dict[str, Architecture]:
    source = Architecture(
        "mlp", {"inputs": 64, "hidden": [128, 64]}, "Hidden layers of 128 and 64; the usual source.", ("teacher", "student")
    )
    target = Architecture("mlp", {"inputs": 64, "hidden": [32]}, "One hidden layer of 32; the usual student.", ("teacher", "student"))
    named = {"mlp-128-64": source, "mlp-32": target}
    return {name: replace(each, config={**each.config, "classes": classes}) for name, each in named.items()}


card = TaskCard(
    id="multi-source",
    version=1,
    title="Digits 0–4 from sources",
    summary="Digits 0 to 4 with 20 labels and 200 unlabeled pictures; its other parts are tasks that sources are trained on: all ten digits, 5 to 9, "
    "shuffled pixels, random labels.",
    kind="classifier",
    options=Options,
    input_shape=(1, 8, 8),
    classes=CLASSES["target"],
    train_rows=20,
    architectures=_architectures(CLASSES["target"]),
    student="mlp-32",
    teacher="mlp-128-64",
    teacher_preset=Preset(
        "A source of the protocol: AdamW at 0.003 for 30 epochs.",
        settings={"optimizer": "adamw", "learning_rate": 3e-3, "weight_decay": 0.0, "schedule": "cosine-per-epoch", "batch_size": 64},
        budget={"epochs": 30},
    ),
    headline=("accuracy", "nll", "ece"),
    changes=changes,
)
