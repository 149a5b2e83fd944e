"""The page of threats: every line names a test, and every test that it names is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
NAMED = re.compile(r"^`(tests/[\w/]+\.py)::(\w+)`$")


def rows() -> list[list[str]]:
    """The cells of each line of the table, without its head and the headings between."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [each for each in cells[1:] if not each[0].startswith("**")]


def names_in(path: Path) -> set[str]:
    """The tests of a file, and their classes."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_each_threat_says_what_stops_it_and_which_test_would_fail() -> None:
    wrong = [cells for cells in rows() if len(cells) != 3 or not all(cells) or NAMED.match(cells[2]) is None]

    assert not wrong
    assert len(rows()) > 50


def test_each_test_that_is_named_is_there() -> None:
    named = [found for cells in rows() if (found := NAMED.match(cells[2]))]

    missing = [each[0] for each in named if not (ROOT / each[1]).is_file() or each[2] not in names_in(ROOT / each[1])]

    assert not missing, f"docs/explanation/security.md names tests that are gone: {', '.join(missing)}"


def test_no_threat_and_no_test_stands_twice() -> None:
    threats, tests = ([cells[place] for cells in rows()] for place in (0, 2))

    assert len(threats) == len(set(threats))
    assert len(tests) == len(set(tests))
