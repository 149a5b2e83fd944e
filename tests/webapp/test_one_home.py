"""What is said in one place and used in several."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path
from uuid import UUID

import pytest

from webapp.api.rendering import StrictJson
from webapp.figures.curves import Line, training_curves
from webapp.figures.engine_charts import figure_of
from webapp.figures.figure import MOST_MARKED
from webapp.finite import finite
from webapp.runs.doorbell import EVERY_RUN, channel, run_of_channel
from webapp.runs.models import PRIORITIES, Run
from webapp.store import path_in_store
from workers.store import within

ROOT = Path(__file__).resolve().parents[2]
RUN = UUID(int=1)


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py") if "migrations" not in path.parts)


def test_the_web_listens_where_the_workers_ring() -> None:
    assert fnmatch(channel(RUN), EVERY_RUN) and run_of_channel(channel(RUN)) == RUN
    assert [path.name for path in sources("webapp", "workers") if "stillhouse:run" in path.read_text()] == ["doorbell.py"]


def test_numbers_that_json_lacks_become_null() -> None:
    value = {"a": float("nan"), "b": [1.5, float("-inf")], "c": (2, "x", None, True)}

    assert finite(value) == {"a": None, "b": [1.5, None], "c": [2, "x", None, True]}
    assert StrictJson().render(value) == b'{"a":null,"b":[1.5,null],"c":[2,"x",null,true]}'


@pytest.mark.parametrize("points", [MOST_MARKED, MOST_MARKED + 1])
def test_a_line_with_few_points_is_marked_in_every_figure_and_the_browser_knows_how_few(points: int) -> None:
    steps = list(range(points))

    (curve,) = training_curves([Line("loss", steps, [1.0] * points, "#000000")], title="Loss", y="loss")["data"]
    view = {"view": "lines", "title": "t", "x": "x", "y": "y", "series": {"a": {"x": steps, "y": steps}}}
    drawn = figure_of(view, color="#000000")

    mode = "lines+markers" if points <= MOST_MARKED else "lines"
    assert drawn is not None
    assert (curve["mode"], drawn["data"][0]["mode"], curve["meta"]["most_marked"]) == (mode, mode, MOST_MARKED)
    script = (ROOT / "webapp" / "static" / "stillhouse" / "run.js").read_text()
    assert "meta.most_marked" in script and not re.search(rf"\b{MOST_MARKED}\b", script)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "folder/../../outside", "", ".", "link", "link/x", "a\0b", "loop/x"])
def test_nothing_leads_out_of_the_store_for_web_and_workers_alike(store: Path, path: str) -> None:
    (store / "link").symlink_to(store.parent)
    (store / "loop").symlink_to(store / "loop")

    with pytest.raises(ValueError, match=r"is not in the store|is no path"):
        path_in_store(path)
    with pytest.raises(ValueError, match=r"is not in the store|is no path|is not within"):
        within("", path)


def test_a_path_of_the_store_need_not_exist(store: Path) -> None:
    assert path_in_store("runs/x/attempt-1") == store.resolve() / "runs" / "x" / "attempt-1"


def test_only_the_lifecycle_writes_a_runs_state() -> None:
    """By an update, a creation, an assignment, or SQL."""
    writes = []
    for path in sources("webapp", "workers"):
        if path.is_relative_to(ROOT / "webapp" / "runs" / "lifecycle"):
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                of_a_bar = path.name == "demo.py" and called == "update"  # the demo's progress bars have a state too
                wrote = called in {"update", "create", "get_or_create", "update_or_create", "Run"} and not of_a_bar
                if wrote and "state" in [k.arg for k in node.keywords]:
                    writes.append(f"{path.name}: {called}(state=…)")
                if called in {"save", "bulk_update"} and '"state"' in ast.unparse(node).replace("'", '"'):
                    writes.append(f"{path.name}: {called}")
            targets = (
                node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
            )
            writes += [f"{path.name}: .state =" for target in targets if isinstance(target, ast.Attribute) and target.attr == "state"]
        if re.search(r"UPDATE runs_run\b.*\bstate\b", text, re.DOTALL):
            writes.append(f"{path.name}: SQL")

    assert writes == []


def test_in_the_lifecycle_one_function_writes_it() -> None:
    updates = [
        (path.name, function.name)
        for path in sources("webapp/runs/lifecycle")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update" and "state" in [k.arg for k in node.keywords]
    ]

    assert updates == [("states.py", "move")]


def test_the_range_of_priorities_is_that_of_the_column() -> None:
    assert (PRIORITIES[0], PRIORITIES[-1]) == (-100, 100)
    assert Run._meta.get_field("priority").get_internal_type() == "SmallIntegerField"
