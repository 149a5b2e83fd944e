"""A disk that fills up: the run goes on while an older checkpoint holds, ends with a sentence when it can't, and never hangs."""

import re
from pathlib import Path

import pytest

from tests.engine.run.small_disk import on_small_disk

NO_ROOM = r"no room on the store, [\d.]+ [kM]B needed, [\d.]+ (bytes|kB|MB) free\."
AND_THEN = r" Make room there, then start or resume the run\."


def test_while_there_is_no_room_people_are_warned_and_the_checkpoint_before_is_kept(tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", {"2": "fill", "5": "free"})

    assert (found["status"], found["same"], found["stray"]) == ("succeeded", True, [])
    assert found["written"] == [1, 5, 6, 7, 8]
    warned = [
        re.fullmatch(rf"The checkpoint of step (\d) could not be written: {NO_ROOM} The run goes on; .*", each)
        for each in found["warnings"]
    ]
    assert [warning and warning[1] for warning in warned] == ["2", "3", "4"]


def test_of_two_that_are_kept_the_older_one_gives_way_where_there_is_no_room(tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", {"4": "fill", "end": "free"})

    assert (found["status"], found["same"], found["warnings"]) == ("succeeded", True, [])
    assert found["written"] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_does_not_succeed_without_its_last_checkpoint_and_goes_on_from_the_one_before(tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", {"2": "fill"})

    assert (found["status"], found["step"]) == ("failed", 8)
    assert re.fullmatch(rf"The checkpoint of step 8 could not be written: {NO_ROOM}{AND_THEN}", found["reason"])
    assert (found["left"], found["same"], found["stray"]) == (["step-000000001"], True, [])


def test_without_any_checkpoint_the_run_ends_at_the_first_that_can_not_be_written(tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", {"1": "fill"})

    assert (found["status"], found["step"], found["left"]) == ("failed", 1, [])
    assert re.fullmatch(rf"The checkpoint of step 1 could not be written: {NO_ROOM}{AND_THEN}", found["reason"])


def test_a_stop_is_heard_on_a_full_disk(tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", {"2": "fill", "stop": "6"})

    assert (found["status"], found["left"], found["same"]) == ("failed", ["step-000000001"], True)
    assert re.fullmatch(rf"The checkpoint of step 6 could not be written: {NO_ROOM}{AND_THEN}", found["reason"])


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        ({"end": "fill"}, "The trained model"),
        ({"5": "table"}, "The table large"),
        ({"0": "fill"}, r"The run's folder \S+"),
    ],
)
def test_what_else_finds_no_room_ends_the_run_with_its_name(plan: dict[str, str], what: str, tmp_path: Path) -> None:
    found = on_small_disk(tmp_path / "disk", plan)

    assert found["status"] == "failed"
    assert re.fullmatch(rf"{what} could not be written: no room on the store, .* free\.{AND_THEN}", found["reason"])
    assert found["stray"] == []
