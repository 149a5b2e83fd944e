"""Peak memory: what is measured, how a page gives it, and how the section of a page is renewed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.evidence.memory import HEADING, MIB, Memory, measure_memory, peak_bytes, peak_on, with_section
from engine.evidence.report import title_of
from engine.spec import catalog

PAGES = Path(__file__).parents[3] / "docs" / "evidence"
MEMORY = Memory("vanilla-kd", alone=230 * MIB, with_run=400 * MIB)
PAGE = """# Evidence: Knowledge distillation

Written by the command below.

## Claims

| claim |

## Specs of seed 10

| arm |
"""


def test_a_large_parent_is_not_measured_in_the_place_of_its_child() -> None:
    # getrusage would report for the child at least what its parent had at the start: 400 MiB, all of them written to.
    program = "from engine.evidence.memory import peak_bytes; print(peak_bytes())"
    ballast = bytearray(b"\x01" * 400 * MIB)

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert int(ended.stdout) < len(ballast) < peak_bytes()


def test_the_run_takes_more_than_the_engine_alone(tmp_path: Path) -> None:
    memory = measure_memory("vanilla-kd", tmp_path)

    assert 50 * MIB < memory.alone < memory.with_run
    assert (tmp_path / "run" / "student" / "model.safetensors").is_file()
    assert (tmp_path / "models").is_dir(), "the teacher was made outside of the measured process"


def test_the_section_says_what_was_run_and_has_all_three_numbers() -> None:
    section = MEMORY.to_markdown()

    assert section.startswith("## Memory\n\nOne run of the preset `tiny` on the task `digits` with `train_limit` 150, ")
    assert "The trained models that it begins with were made before, by another process." in section
    assert "By `python -m engine evidence vanilla-kd --memory --write docs/evidence/vanilla-kd.md`, with torch " in section
    assert [line.split("|")[2].strip() for line in section.splitlines()[-3:]] == ["230", "400", "170"]


def test_a_section_is_put_before_the_specs_and_everything_else_stays() -> None:
    page = with_section(PAGE, MEMORY.to_markdown())

    before, after = PAGE.split("## Specs")
    assert page == f"{before}{MEMORY.to_markdown()}\n\n## Specs{after}"
    assert peak_on(page) == 400


def test_a_section_is_replaced_and_not_doubled() -> None:
    once = with_section(PAGE, Memory("vanilla-kd", alone=1, with_run=999 * MIB).to_markdown())

    twice = with_section(once, MEMORY.to_markdown())

    assert twice == with_section(PAGE, MEMORY.to_markdown())
    assert twice.count(HEADING) == 1


def test_a_page_without_specs_gets_the_section_at_its_end() -> None:
    page = with_section("# Evidence\n\n## Claims\n\nNone.\n", MEMORY.to_markdown())

    assert page == f"# Evidence\n\n## Claims\n\nNone.\n\n{MEMORY.to_markdown()}\n"
    assert with_section(page, MEMORY.to_markdown()) == page


def test_a_page_without_the_section_tells_no_peak() -> None:
    assert peak_on(PAGE) is None


def test_the_command_renews_the_section_of_a_page_and_measures_no_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "supervised.md"
    page.write_text(f"{title_of(catalog.methods()['supervised'])}\n\nBy hand.\n\n## Memory\n\nOld.\n\n## Specs of seed 10\n\nTwo.\n")

    code = main(["evidence", "supervised", "--memory", "--json", "--write", str(page)])

    reported, text = json.loads(capsys.readouterr().out)["memory"], page.read_text()
    assert code == 0
    assert reported["difference_bytes"] == reported["with_run_bytes"] - reported["alone_bytes"] > 0
    assert peak_on(text) == round(reported["with_run_bytes"] / MIB)
    assert text.startswith("# Evidence: Supervised training\n\nBy hand.\n\n## Memory\n\nOne run of the preset `tiny` on the task `digits`")
    assert text.endswith("|\n\n## Specs of seed 10\n\nTwo.\n") and "Old." not in text


def test_a_page_that_does_not_exist_or_is_another_methods_is_not_renewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent, other = tmp_path / "absent.md", tmp_path / "other.md"
    other.write_text(PAGE)

    codes = [main(["evidence", "supervised", "--memory", "--write", str(path)]) for path in (absent, other)]

    assert codes == [2, 2]
    assert capsys.readouterr().err == (
        f"error: --memory renews a part of a page, and there is no {absent}; write the page first, without --memory.\n"
        f"error: --write names {other}, which does not begin with '# Evidence: Supervised training': it is not the page of supervised.\n"
    )
    assert not absent.exists() and other.read_text() == PAGE


@pytest.mark.parametrize("method_id", catalog.methods())
def test_every_page_of_evidence_tells_the_peak(method_id: str) -> None:
    page = (PAGES / f"{method_id}.md").read_text(encoding="utf-8")

    section = page.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    alone, with_run, difference = (int(line.split("|")[2]) for line in section.splitlines() if line.startswith("| ") and "MiB" not in line)
    assert 50 < alone < with_run
    assert abs(with_run - alone - difference) <= 1, "each is rounded by itself"
    assert peak_on(page) == with_run
    assert f"`python -m engine evidence {method_id} --memory --write docs/evidence/{method_id}.md`" in section and "Machine: " in section
