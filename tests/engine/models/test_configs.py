"""What a network may be: sizes that a task decides, and configurations that are refused before anything is built."""

from typing import Any

import pytest
from pydantic import ValidationError

from engine.models.build import BUILDERS
from engine.models.configs import CONFIGS, sizes_of_task

LATENT = {"q_rank": 4, "kv_rank": 4, "nope": 2, "rope": 2, "value": 4}
VALID: dict[str, dict[str, Any]] = {
    "mlp": {"inputs": 4, "hidden": [], "classes": 2},
    "resnet": {"channels": 1, "widths": [4], "blocks": 1, "classes": 2},
    "lenet": {"channels": 1, "widths": [2, 3], "hidden": [4, 5], "grid": 2, "classes": 2},
    "kernel_ridge": {"rows": 1, "inputs": 1, "classes": 2, "gamma": 0.1},
    "bert": {"vocabulary": 9, "width": 8, "classes": 2, "layers": 1, "heads": 2, "mlp_width": 8, "length": 5},
    "latent_llama": {
        "vocabulary": 9,
        "width": 8,
        "layers": 2,
        "heads": 2,
        "positions": 16,
        "mlp_width": 8,
        "latent": [LATENT, None],
    },
    "edm_mlp": {"inputs": 2, "classes": 0, "sigma_data": 0.5},
    "edm_unet": {"channels": 1, "widths": [8, 16], "classes": 0, "sigma_data": 0.5},
    "knowledge_base": {},
    "surfel_scene": {},
}


@pytest.mark.parametrize(
    ("shape", "classes", "words", "sizes"),
    [
        ((1, 8, 8), 10, None, {"inputs": 64, "classes": 10, "vocabulary": 10, "channels": 1}),
        ((3, 32, 16), None, None, {"inputs": 1536, "channels": 3}),
        ((2,), None, None, {"inputs": 2, "length": 2}),
        ((48,), 1024, None, {"inputs": 48, "length": 48, "classes": 1024, "vocabulary": 1024}),
        ((80,), 14, 2048, {"inputs": 80, "length": 80, "classes": 14, "vocabulary": 2048}),
        ((), 3, None, {"inputs": 1, "classes": 3, "vocabulary": 3}),
        ((4, 5), 3, None, {"inputs": 20, "classes": 3, "vocabulary": 3}),
    ],
)
def test_a_task_decides_the_sizes_that_its_examples_have(
    shape: tuple[int, ...], classes: int | None, words: int | None, sizes: dict[str, int]
) -> None:
    assert sizes_of_task(shape, classes, words) == sizes


def test_whatever_is_described_can_be_built_and_the_other_way_round() -> None:
    assert set(BUILDERS) == set(CONFIGS)


@pytest.mark.parametrize("builder", VALID)
def test_the_examples_here_are_taken_and_an_unknown_word_never(builder: str) -> None:
    CONFIGS[builder].model_validate(VALID[builder])

    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        CONFIGS[builder].model_validate({**VALID[builder], "widht": 3})


@pytest.mark.parametrize(
    ("builder", "change", "place", "reason"),
    [
        ("mlp", {"inputs": "4"}, ("inputs",), "Input should be a valid integer"),
        ("mlp", {"inputs": 4.0}, ("inputs",), "Input should be a valid integer"),
        ("mlp", {"hidden": [3, 65537]}, ("hidden", 1), "Input should be less than or equal to 65536"),
        ("mlp", {"hidden": [1] * 65}, ("hidden",), "List should have at most 64 items after validation, not 65"),
        ("mlp", {"classes": 1}, ("classes",), "Input should be greater than or equal to 2"),
        ("resnet", {"widths": []}, ("widths",), "List should have at least 1 item after validation, not 0"),
        ("resnet", {"grid": 0}, ("grid",), "Input should be greater than or equal to 1"),
        ("lenet", {"widths": [2]}, ("widths",), "List should have at least 2 items after validation, not 1"),
        ("lenet", {"hidden": [2, 3, 4]}, ("hidden",), "List should have at most 2 items after validation, not 3"),
        ("kernel_ridge", {"gamma": 0.0}, ("gamma",), "Input should be greater than 0"),
        ("kernel_ridge", {"gamma": float("inf")}, ("gamma",), "Input should be a finite number"),
        ("bert", {"heads": 3}, (), "Value error, heads must divide the width of 8; got 3"),
        ("latent_llama", {"latent": [LATENT]}, (), "Value error, latent must have an entry for each of the 2 layers; got 1"),
        ("latent_llama", {"latent": [{**LATENT, "rope": 3}, None]}, ("latent", 0, "rope"), "Input should be a multiple of 2"),
        ("latent_llama", {"norm_eps": 1.0}, ("norm_eps",), "Input should be less than 1"),
        ("edm_mlp", {"sigma_data": 0.0}, ("sigma_data",), "Input should be greater than 0"),
        ("edm_mlp", {"levels": [1.0, 0.0]}, ("levels", 1), "Input should be greater than 0"),
        ("edm_mlp", {"transition": "jump"}, ("transition",), "Input should be 'renoise' or 'ancestral'"),
        ("edm_unet", {"widths": [12]}, ("widths", 0), "Input should be a multiple of 8"),
        ("knowledge_base", {"follow": 1.01}, ("follow",), "Input should be less than or equal to 1"),
        ("knowledge_base", {"patience": 0}, ("patience",), "Input should be greater than or equal to 1"),
        ("surfel_scene", {"start": 1.0}, ("start",), "Input should be less than 1"),
        ("surfel_scene", {"fixed_progress": -0.1}, ("fixed_progress",), "Input should be greater than or equal to 0"),
    ],
)
def test_what_no_network_can_have_is_refused_where_it_stands(
    builder: str, change: dict[str, Any], place: tuple[str | int, ...], reason: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        CONFIGS[builder].model_validate({**VALID[builder], **change})

    [error] = refused.value.errors()
    assert (error["loc"], error["msg"].partition(", unable")[0]) == (place, reason)
