"""What was stored before the rooms were redrawn means the same today: specifications, hashes, checkpoints, and the weights they lead to.

Recorded from the code of 13af1dd by the tiny preset of every method. A method whose version was raised since owes other bits, on purpose:
its recording then says only that the specification is still understood.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from tests.engine.replay import ANY_PROCESSOR, RECORDED, is_unchanged, recorded_runs, recorded_variants

RAISED = {
    "decoupled-dmd": "places on the grid of a generator of several steps are drawn from a seed of their own",
    "distill-similar": "features are taken as they are unless components are chosen, and components are of standardized features",
    "dmd2": "places on the grid of a generator of several steps are drawn from a seed of their own",
    "dp-opd": "batches and noise are drawn from a secret, so the seed decides nothing",
    "gkd": "with several completions a prompt, text that is read counts as often as a sample",
    "progressive-radiance": "structural similarity is computed by torchmetrics, which rounds otherwise",
}
"""Why a method's recorded weights are not those of today."""

SPECS: list[dict[str, Any]] = json.loads((RECORDED / "specs.json").read_text(encoding="utf-8"))
UNCHANGED = [name for name, run in recorded_runs().items() if is_unchanged(run)]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, str]]]:
    """The recorded runs, made again by today's code."""
    folder = tmp_path_factory.mktemp("replayed")
    made = subprocess.run(
        [sys.executable, "-m", "tests.engine.replay", str(folder)],
        cwd=Path(__file__).parents[2],
        env=os.environ | ANY_PROCESSOR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    found: dict[str, dict[str, dict[str, str]]] = json.loads(made.stdout)
    return found


def expected(name: str, how: str) -> list[dict[str, str]]:
    """The student's hashes. A sine has other last bits in the library of another maker's processor; what that one gave is recorded beside."""
    run = recorded_runs()[name]
    return [run["student"], *([run["elsewhere"][how]] if "elsewhere" in run else [])]


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_recorded_specification_gives_the_weights_that_it_gave(name: str, replayed: dict[str, dict[str, dict[str, str]]]) -> None:
    assert replayed[name]["whole"] in expected(name, "whole")


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_recorded_checkpoint_leads_to_the_weights_that_it_led_to(name: str, replayed: dict[str, dict[str, dict[str, str]]]) -> None:
    assert replayed[name]["resumed"] in expected(name, "resumed")


@pytest.mark.parametrize("name", recorded_variants())
def test_schedules_optimizers_and_pieces_of_a_batch_give_the_weights_that_they_gave(
    name: str, replayed: dict[str, dict[str, dict[str, str]]]
) -> None:
    assert replayed[name]["whole"] == recorded_variants()[name]["student"]


def test_every_method_that_owes_other_bits_says_why() -> None:
    changed = {name for name, run in recorded_runs().items() if not is_unchanged(run)}

    assert changed == set(RAISED)


def stored(entry: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A recorded specification, and whether its method still has the version that it names. Where not, it is read as a clone reads it: without."""
    spec = dict(entry["spec"])
    same = is_unchanged(entry)
    return (spec if same else spec | {"method_version": 0}), same


def test_stored_specifications_are_read_and_keep_their_hashes() -> None:
    assert len(SPECS) == 247

    for entry in [*SPECS, *recorded_runs().values(), *recorded_variants().values()]:
        spec, same = stored(entry)
        parsed = RunSpec.parse(spec)
        if same:
            assert parsed.config_hash() == entry["config_hash"], spec
        else:
            assert parsed.method_version == catalog.methods()[parsed.method].version


def test_what_people_typed_before_is_completed_to_the_same_specification() -> None:
    for entry in SPECS:
        if is_unchanged(entry):
            assert RunSpec.parse(entry["given"]).config_hash() == entry["config_hash"], entry["given"]
