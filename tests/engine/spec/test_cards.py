"""Cards of methods, tasks, kinds and metrics: what follows from what they say, and what the catalog does not take."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from engine.methods.supervised.card import card as supervised
from engine.spec import catalog
from engine.spec.cards import KindCard, MethodCard, MetricCard, Needs, TaskCard, TaskOptions
from engine.tasks.digits.card import card as digits
from tests.engine.tiny import TinyTask, tiny_card


def task(*, kind: str = "classifier", also: tuple[str, ...] = (), students: dict[str, str] | None = None) -> TaskCard:
    return TaskCard(
        id="tasked",
        version=1,
        title="",
        summary="",
        kind=kind,
        also=also,
        options=TaskOptions,
        input_shape=(1,),
        classes=2,
        train_rows=1,
        architectures={},
        student="usual",
        students=students or {},
        headline=(),
        changes=lambda options: {"classes": options["parts"]} if options.get("parts") else {},
    )


def makes(*kinds: str) -> MethodCard:
    return MethodCard(
        id="makes", version=1, family="", title="", summary="", paper="", settings=supervised.settings, student=Needs(kinds), presets={}
    )


def test_a_methods_student_is_the_first_of_the_tasks_kinds_that_it_makes() -> None:
    judged = task(also=("dataset", "denoiser"), students={"dataset": "net"})

    assert [judged.kind_of(makes(*kinds)) for kinds in (("denoiser", "dataset"), ("classifier", "denoiser"), ("scene",))] == [
        "dataset",
        "classifier",
        None,
    ]
    assert [judged.student_of(makes(kind)) for kind in ("dataset", "classifier", "denoiser", "scene")] == ["net", "usual", "usual", "usual"]


def test_a_card_is_otherwise_where_an_option_changes_it_and_the_card_itself_stays() -> None:
    card = task()

    changed = card.under({"parts": 7})

    assert (changed.classes, card.classes, card.under({}).classes) == (7, 2, 2)
    assert changed.id == card.id
    assert TinyTask.card.under({"anything": 1}) is TinyTask.card


def test_one_kind_and_several_are_asked_for_alike() -> None:
    assert Needs("classifier").kinds == ("classifier",)
    assert Needs(("classifier", "causal-lm")).kinds == ("classifier", "causal-lm")


def test_what_is_left_empty_follows_from_the_task_where_a_method_says_so() -> None:
    assert supervised.left_empty(digits) == {}
    follows = MethodCard(
        id="f",
        version=1,
        family="",
        title="",
        summary="",
        paper="",
        settings=supervised.settings,
        student=Needs("classifier"),
        presets={},
        follows=lambda card: {"batch_size": card.train_rows},
    )
    assert follows.left_empty(digits) == {"batch_size": 1200}


def test_a_column_is_headed_by_the_short_title_where_there_is_one() -> None:
    assert MetricCard("m", "A long title", None, "").head == "A long title"
    assert MetricCard("m", "A long title", None, "", short="Long").head == "Long"


def test_a_kind_shows_its_headline_until_it_names_columns() -> None:
    plain = KindCard(id="k", order=1, title="", summary="", judge="", metrics=(), headline=("a", "b"))
    chosen = KindCard(id="k", order=1, title="", summary="", judge="", metrics=(), headline=("a", "b"), columns=("b",))

    assert (plain.first_columns, chosen.first_columns) == (("a", "b"), ("b",))


# The catalog


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """An empty package in a folder of its own, where a test puts modules."""
    folder = tmp_path / "room_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("room_of_a_test")
    for name in [name for name in sys.modules if name.partition(".")[0] == "room_of_a_test"]:
        del sys.modules[name]


def put(package: ModuleType, name: str, text: str) -> None:
    folder = Path(package.__path__[0]) / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "card.py").write_text(text)


TAKEN = "from tests.engine.tiny import tiny_card\ncard = tiny_card({!r})\n"


def test_cards_are_found_in_their_folders_sorted_by_id_and_modules_beside_them_are_none(package: ModuleType) -> None:
    put(package, "mix_two", TAKEN.format("mix-two"))  # a hyphen comes before a digit, an underscore after it
    put(package, "mix2", TAKEN.format("mix2"))
    (Path(package.__path__[0]) / "method.py").write_text("raise AssertionError('nobody looks at me')")

    assert list(catalog._cards(package, MethodCard)) == ["mix-two", "mix2"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TAKEN.format("another"), "card 'another' lives in the folder 'mine'"),
        ("card = 7\n", "room_of_a_test.mine.card.card is a int, not a MethodCard"),
        ("from tests.engine.tiny import TinyTask\ncard = TinyTask.card\n", "room_of_a_test.mine.card.card is a TaskCard, not a MethodCard"),
    ],
)
def test_a_card_that_is_none_or_lives_elsewhere_ends_the_start(text: str, sentence: str, package: ModuleType) -> None:
    put(package, "mine", text)

    with pytest.raises(AssertionError) as refused:
        catalog._cards(package, MethodCard)

    assert str(refused.value) == sentence


def test_a_card_may_name_only_kinds_that_are_declared() -> None:
    catalog._assert_declared(tiny_card("known"), ["classifier", "scene"])

    with pytest.raises(AssertionError, match=r"^known names the kind 'alloy', which no module of engine\.kinds declares$"):
        catalog._assert_declared(tiny_card("known"), ["classifier", "zinc", "alloy"])


class First(TinyTask):
    pass


class _Hidden(TinyTask):
    pass


def test_a_module_defines_one_class_beside_what_it_imports_and_hides() -> None:
    here = sys.modules[__name__]

    assert catalog._only_subclass(here, TinyTask) is First
    with pytest.raises(AssertionError, match=r"must define exactly one ArtifactWriter, found \[\]$"):
        catalog._only_subclass(here, type("ArtifactWriter", (), {}))
