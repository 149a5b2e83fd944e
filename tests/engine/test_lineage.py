"""What a model.json says of the texts that a model has read."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.lineage import FIELD, Source, sources_of
from tests.engine.tiny import run_tiny

SPEC: dict[str, Any] = {"method": "supervised", "task": "stdlib-text", "task_options": {"train_limit": 9}, "student": None, "teachers": []}
RUN = {"source": "run", "name": "7"}
READ = Source("stdlib-text", {"train_limit": 9}, "train")


def test_what_was_recorded_comes_back():
    source = {"task": "kjv", "options": {"train_limit": 3}, "split": "train", "sha256": "ab", "nobody_knows": ""}

    assert sources_of({FIELD: [source], "spec": SPEC}) == (Source("kjv", {"train_limit": 3}, "train", "ab"),)


@pytest.mark.parametrize(
    ("spec", "sources"),
    [
        (SPEC, (READ,)),
        ({**SPEC, "student": {"source": "builtin", "name": "gpt2-1x32"}}, (READ,)),
        ({**SPEC, "student": RUN}, (READ, Source.unknown("run:7"))),
        ({**SPEC, "teachers": [{"source": "hf", "name": "x/y"}]}, (READ, Source.unknown("hf:x/y"))),
        ({**SPEC, "method": "dp-opd"}, (Source("stdlib-text", {"train_limit": 9}, "private"),)),
    ],
)
def test_an_older_export_is_read_by_its_spec(spec, sources):
    assert sources_of({"task": "stdlib-text", "spec": spec}) == sources


def test_of_a_model_without_a_spec_nobody_knows():
    assert sources_of({"task": "digits"}) == (Source.unknown("a model without a spec, of the task digits"),)


def test_the_export_of_a_model_that_reads_no_text_says_nothing(tmp_path: Path):
    run_tiny(tmp_path)

    assert FIELD not in json.loads((tmp_path / "student/model.json").read_text())
