"""The command that measures a method."""

import json

import pytest

from engine.cli.main import main
from engine.errors import SpecError
from engine.evidence import experiment
from engine.spec import catalog


def test_evidence_of_a_method_that_does_not_exist_is_refused():
    with pytest.raises(SpecError) as refused:
        experiment.load("vanila-kd")

    assert str(refused.value).startswith(f"method: there is no method 'vanila-kd'; choose one of {', '.join(catalog.methods())}")


def test_the_command_prints_json_and_writes_the_page(tmp_path, capsys):
    page = tmp_path / "supervised.md"

    code = main(["evidence", "supervised", "--seeds", "1", "--json", "--write", str(page)])

    assert code == 0
    reported, text = json.loads(capsys.readouterr().out), page.read_text()
    assert reported["seeds"] == [10]
    assert "python -m engine evidence supervised --seeds 1 --first-seed 10 --write docs/evidence/supervised.md" in text
    assert reported["memory"]["with_run_bytes"] > reported["memory"]["alone_bytes"]
    assert text.index("## What the paper reports") < text.index("## Memory") < text.index("## Specs of seed 10")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["supervised", "--seeds", "0"], "error: --seeds must be at least 1; got 0.\n"),
        (["supervised", "--first-seed", "-1"], "error: --first-seed must be at least 0; got -1.\n"),
        (
            ["supervised", "--write", "/no/such/folder/page.md"],
            "error: --write names a file in /no/such/folder, which is no folder; make it first.\n",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence_with_exit_code_two(arguments, sentence, capsys):
    code = main(["evidence", *arguments])

    assert (code, capsys.readouterr().err) == (2, sentence)
