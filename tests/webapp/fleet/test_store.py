"""Whether a folder is the store that all share."""

from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command

from tests.engine.run.small_disk import printed
from webapp.fleet import store as shared
from webapp.fleet.models import StoreMarker

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

ME, OTHER = uuid4(), uuid4()


def test_the_first_who_comes_makes_the_store_and_whoever_sees_it_too_may_use_it(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "store"

    first, second = shared.problem_of(folder, ME), shared.problem_of(folder, OTHER)

    assert (first, second) == ("", "")
    assert [path.name for path in folder.iterdir()] == [shared.MARKER]
    assert shared.holds(folder, StoreMarker.objects.get().text)


def test_an_empty_folder_where_the_store_was_to_be_mounted_is_no_store_until_it_is(tmp_path: Path) -> None:
    mounted, place = tmp_path / "disk", tmp_path / "place"
    shared.problem_of(mounted, ME)
    place.mkdir()

    before = shared.problem_of(place, OTHER)
    place.rmdir()
    place.symlink_to(mounted)
    after = shared.problem_of(place, OTHER)

    assert before == "its store lacks the file .stillhouse-store, so it may not be mounted"
    assert after == ""


def test_a_store_of_another_database_is_refused(tmp_path: Path) -> None:
    shared.problem_of(tmp_path / "ours", ME)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / shared.MARKER).write_text("0" * 32)

    assert shared.problem_of(tmp_path / "theirs", OTHER) == (
        "its store is not the one that the database knows: their .stillhouse-store differ"
    )
    assert not shared.holds(tmp_path / "theirs", shared.known() or "")


def test_a_database_that_was_put_back_believes_the_store_that_is_there(tmp_path: Path) -> None:
    shared.problem_of(tmp_path, ME)
    text = shared.known()
    StoreMarker.objects.all().delete()

    problem = shared.problem_of(tmp_path, OTHER)

    assert (problem, shared.known()) == ("", text)


def test_a_marker_that_is_still_being_written_is_none(tmp_path: Path) -> None:
    (tmp_path / shared.MARKER).touch()
    StoreMarker.objects.create(text="1" * 32)

    assert shared.problem_of(tmp_path, ME) == "its store lacks the file .stillhouse-store, so it may not be mounted"


def test_a_marker_that_was_begun_and_never_written_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / shared.MARKER).touch()

    problem = shared.problem_of(tmp_path, ME)

    assert problem == ""
    assert [path.name for path in tmp_path.iterdir()] == [shared.MARKER]
    assert shared.holds(tmp_path, StoreMarker.objects.get().text)


def test_on_a_full_disk_no_marker_is_left_that_nobody_can_read(tmp_path: Path) -> None:
    program = (
        "import json, os, pathlib, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'webapp.settings'; django.setup()\n"
        "from tests.engine.run.small_disk import fill, free\n"
        "from webapp.fleet import store\n"
        "disk, said = pathlib.Path(sys.argv[1]), ''\n"
        "fill(disk)\n"
        "try: store._write(disk / store.MARKER)\n"
        "except OSError as error: said = error.strerror\n"
        "free(disk)\n"
        "left = os.listdir(disk)\n"
        "print(json.dumps([said, left, store.holds(disk, store._write(disk / store.MARKER))]))\n"
    )

    assert printed(tmp_path / "disk", "-c", program, str(tmp_path / "disk")) == ["No space left on device", [], True]


def test_a_store_in_which_nothing_can_be_written_is_refused_in_the_systems_words(tmp_path: Path) -> None:
    shared.problem_of(tmp_path, OTHER)
    (tmp_path / f".proof-{ME}").mkdir()

    assert shared.problem_of(tmp_path, ME) == "its store can't be written: Is a directory"


def test_a_file_where_the_store_should_be_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")

    assert shared.problem_of(tmp_path / "store", ME) == "its store does not work: File exists"
    assert shared.known() is None


def test_an_operator_says_that_another_folder_is_the_store_from_now_on(
    tmp_path: Path, settings: object, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shared.problem_of(old, ME)
    settings.STORE = new  # type: ignore[attr-defined]

    call_command("adopt_store")

    assert capsys.readouterr().out == f"{new} is the store.\n"
    assert shared.problem_of(new, ME) == ""
    assert shared.problem_of(old, ME).startswith("its store is not the one that the database knows")
    assert StoreMarker.objects.count() == 1
