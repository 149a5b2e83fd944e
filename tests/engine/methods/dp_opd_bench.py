"""A private run of small language models in float64, for looking at it step by step: its secret is a seed here, so that every test run is the same."""

from collections.abc import Mapping
from typing import Any

import torch

from engine.method import Batch
from engine.methods.dp_opd.method import DPOPD
from tests.engine.methods.language import new_language_method

EXACT = {
    "epsilon": None,
    "noise_multiplier": 0.0,
    "clip_norm": 1e9,
    "records": 20,
    "expected_batch": 4,
    "prompt_tokens": 3,
    "completion_tokens": 5,
    "on_policy_share": 0.0,
    "optimizer": "sgd",
    "learning_rate": 0.1,
}
"""No noise and no clipping, unless a test wants them."""


def new_and_reported(settings: Mapping[str, Any] | None = None, **more: Any) -> tuple[DPOPD, list[Any]]:
    """The method, and the list that all it reports goes into."""
    method, reported = new_language_method("dp-opd", {**EXACT, **(settings or {})}, **more)
    assert isinstance(method, DPOPD)
    method.chance.manual_seed(0)
    return method, reported


def new(settings: Mapping[str, Any] | None = None, **more: Any) -> DPOPD:
    return new_and_reported(settings, **more)[0]


def batch_of(method: DPOPD, *rows: int) -> Batch:
    index = torch.tensor(rows, dtype=torch.int64)
    return Batch(method.corpus[index], None, index)
