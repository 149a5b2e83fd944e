"""What a backup holds is what is there again after a restore; what is not whole is not restored."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.installations import Installation
from webapp.operate.backup.archive import BackupError
from webapp.operate.backup.files import hold_checkpoints
from webapp.operate.backup.read import check
from webapp.runs.models import Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

CHANGED_BY_RESTORE = {"runs_run", "runs_attempt", "runs_historyline", "django_migrations"}
"""A held run is queued again. Migrations are applied anew, at other times."""


@pytest.fixture
def backup(in_use: Installation, tmp_path: Path) -> Path:
    file = tmp_path / "stillhouse.backup"
    in_use.did("backup", str(file))
    return file


def content_of(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def write_again(file: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """A backup with something changed in its members or its manifest, sealed as if it had been made so."""
    members = content_of(file)
    manifest = json.loads(members.pop("manifest.json"))
    del members["manifest.sha256"]
    change(members, manifest)
    manifest["members"] = {name: [len(body), hashlib.sha256(body).hexdigest()] for name, body in members.items()}
    body = json.dumps(manifest).encode()
    members |= {"manifest.json": body, "manifest.sha256": hashlib.sha256(body).hexdigest().encode()}
    changed = file.with_name("changed.backup")
    with tarfile.open(changed, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return changed


def test_every_row_and_every_file_is_there_again(in_use: Installation, backup: Path, elsewhere_installed: Installation) -> None:
    rows, files = in_use.rows(), in_use.files()

    printed = elsewhere_installed.did("restore", str(backup))

    restored = elsewhere_installed.rows()
    assert {name: restored[name] for name in rows if name not in CHANGED_BY_RESTORE} == {
        name: found for name, found in rows.items() if name not in CHANGED_BY_RESTORE
    }
    assert restored["runs_run"][0] == 3 and restored["runs_metricpoint"][0] == 6
    assert elsewhere_installed.files() == {name: content for name, content in files.items() if "/checkpoints/" not in name}
    assert elsewhere_installed.store.stat().st_mode & 0o777 == 0o700
    assert printed.startswith("Restored: ")


def test_what_comes_after_a_restore_gets_new_keys(backup: Path, elsewhere_installed: Installation) -> None:
    elsewhere_installed.did("restore", str(backup))

    made = "from webapp.accounts.models import User; from webapp.runs.models import HistoryLine as H; u = User.objects.create_user('new');"
    elsewhere_installed.did("shell", "-c", f"{made} H.objects.create(run_id=H.objects.first().run_id, who='x', after='queued')")

    assert elsewhere_installed.ask("SELECT count(*), max(id) FROM accounts_user")[0] == (2, 2 + int(max_user_before(backup)) - 1)


def max_user_before(backup: Path) -> int:
    rows = gzip.decompress(content_of(backup)["database/accounts_user/000000.copy.gz"]).decode().splitlines()
    return max(int(row.split("\t")[0]) for row in rows)


def test_a_held_run_is_queued_again_and_the_others_stay_as_they_were(backup: Path, elsewhere_installed: Installation) -> None:
    held = Run.objects.get(state="running")

    elsewhere_installed.did("restore", str(backup))

    states = dict(elsewhere_installed.ask("SELECT name, state FROM runs_run"))
    attempt = elsewhere_installed.ask(f"SELECT exit, ended_at IS NOT NULL FROM runs_attempt WHERE run_id = '{held.pk}'")
    assert states == {"finished": "succeeded", "running": "queued", "line\nbreak\ttab\\N “ß”": "queued"}
    assert attempt == [("lost", True)]
    ((step, path),) = elsewhere_installed.ask(f"SELECT checkpoint_step, checkpoint_path FROM runs_run WHERE id = '{held.pk}'")
    assert step == 10 and (elsewhere_installed.store / path / "tensors.safetensors").is_file()


@pytest.mark.parametrize("gone", [["state.json"], ["tensors.safetensors"], ["state.json", "tensors.safetensors"]])
def test_a_checkpoint_that_its_worker_is_deleting_asks_for_another_snapshot(gone: list[str], in_use: Installation, tmp_path: Path) -> None:
    held = Run.objects.get(state="running")
    for name in gone:
        (in_use.store / str(held.checkpoint_path) / name).unlink()

    assert not hold_checkpoints(tmp_path / "held")
    assert [path for path in (tmp_path / "held").rglob("*") if held.checkpoint_path.endswith(path.name)] == []


def test_a_backup_to_standard_output_is_the_same_form(in_use: Installation, tmp_path: Path) -> None:
    ended = in_use.manage("backup", "-")

    file = tmp_path / "piped"
    file.write_bytes(ended.stdout)
    assert check(file).rows["runs_run"] == 3
    assert b"tables, " in ended.stderr and ended.returncode == 0


def test_only_its_owner_may_read_a_backup_and_nothing_is_left_beside_it(backup: Path, store: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600
    assert [path for path in backup.parent.iterdir() if "partial" in path.name] == []
    assert [path for path in store.iterdir() if path.name.startswith(".")] == []


def test_a_backup_overwrites_nothing(in_use: Installation, backup: Path) -> None:
    before = backup.read_bytes()

    sentence = in_use.refused("backup", str(backup))

    assert sentence == f"CommandError: {backup} exists already; choose another name, a backup is never overwritten."
    assert backup.read_bytes() == before


def test_a_file_that_is_missing_from_the_store_is_told_and_the_rest_is_saved(in_use: Installation, tmp_path: Path, store: Path) -> None:
    report = next(store.rglob("report.json"))
    report.unlink()

    ended = in_use.manage("backup", str(tmp_path / "backup"))

    name = report.relative_to(store)
    assert f"warning: {name} is missing from the store, though a row names it" in ended.stderr.decode()
    assert check(tmp_path / "backup").missing == [str(name)] and ended.returncode == 0


def test_a_file_behind_a_link_is_not_taken_along(in_use: Installation, tmp_path: Path, store: Path) -> None:
    report = next(store.rglob("report.json"))
    report.unlink()
    report.symlink_to("/etc/hostname")

    in_use.did("backup", str(tmp_path / "backup"))

    assert check(tmp_path / "backup").missing == [str(report.relative_to(store))]


def test_a_database_or_a_store_in_use_is_not_overwritten_unless_told(
    in_use: Installation, backup: Path, elsewhere_installed: Installation
) -> None:
    rows = in_use.rows()
    elsewhere_installed.store.mkdir(parents=True)
    (elsewhere_installed.store / "runs").mkdir()

    refusals = [in_use.refused("restore", str(backup)), elsewhere_installed.refused("restore", str(backup))]

    assert refusals[0].endswith("has rows. Restore into an empty one, or say --replace to delete what is there.")
    assert refusals[1].endswith("is not empty. Restore into an empty one, or say --replace to delete what is there.")
    assert in_use.rows() == rows and elsewhere_installed.rows() == {}


def test_a_migrated_installation_that_nobody_has_used_counts_as_empty(backup: Path, elsewhere_installed: Installation) -> None:
    elsewhere_installed.did("migrate", "--verbosity", "0")
    elsewhere_installed.did("sync_catalog")

    elsewhere_installed.did("restore", str(backup))

    assert elsewhere_installed.ask("SELECT count(*) FROM runs_run") == [(3,)]


def test_told_to_replace_it_takes_the_place_of_all_that_was_there(in_use: Installation, backup: Path, project: Any, store: Path) -> None:
    files = in_use.files()
    Run.objects.all().delete()
    (store / "runs" / "late").mkdir()
    (store / "runs" / "late" / "file").write_text("late")

    in_use.did("restore", "--replace", str(backup))

    assert Run.objects.count() == 3
    assert in_use.files() == {name: content for name, content in files.items() if "/checkpoints/" not in name}


def test_a_backup_from_before_a_migration_is_brought_up_to_date(
    in_use: Installation, backup: Path, elsewhere_installed: Installation
) -> None:
    elsewhere_installed.did("restore", str(backup))
    elsewhere_installed.did("migrate", "operate", "zero", "--verbosity", "0")
    elsewhere_installed.did("migrate", "runs", "0003", "--verbosity", "0")
    old = backup.with_name("old.backup")
    elsewhere_installed.did("backup", str(old))

    in_use.did("restore", "--replace", str(old))

    assert ["runs", "0006_checkpoints_may_be_kept"] not in json.loads(content_of(old)["manifest.json"])["migrations"]
    assert Run.objects.filter(keep_checkpoints=False).count() == 3


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_backup_that_ends_too_early_is_refused(share: float, backup: Path) -> None:
    whole = backup.read_bytes()
    backup.write_bytes(whole[: int(share * len(whole.rstrip(b"\0")))])

    with pytest.raises(BackupError, match=r"(is not whole|can't be read as a backup)"):
        check(backup)


def test_one_changed_byte_of_any_member_is_found(backup: Path) -> None:
    whole = backup.read_bytes()
    with tarfile.open(backup) as archive:
        places = [info.offset_data + info.size // 2 for info in archive if info.size]

    for place in places:
        backup.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BackupError, match=r"is damaged: .+ Restore another backup\.$"):
            check(backup)


@pytest.mark.parametrize("name", ["store/../../x", "/etc/x", "store/a/../../x", "database/x; DROP/000000.copy.gz", "other", "store/./x"])
def test_a_member_that_leads_elsewhere_is_refused(name: str, backup: Path) -> None:
    changed = write_again(backup, lambda members, manifest: members.update({name: b"x"}))

    with pytest.raises(BackupError, match="is no backup of Stillhouse: it has a member"):
        check(changed)


def test_what_the_database_refuses_leaves_both_as_they_were(backup: Path, elsewhere_installed: Installation) -> None:
    def twice(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        members["database/runs_metricpoint/000001.copy.gz"] = members["database/runs_metricpoint/000000.copy.gz"]

    changed = write_again(backup, twice)

    sentence = elsewhere_installed.refused("restore", str(changed))
    ended = elsewhere_installed.manage("restore", str(changed)).stderr.decode()

    assert "The database refused the backup, and nothing was changed: duplicate key value" in ended and sentence
    assert elsewhere_installed.rows() == {} and list(elsewhere_installed.store.iterdir()) == []


def test_rows_that_refer_to_nothing_are_found_before_the_files_move(backup: Path, elsewhere_installed: Installation) -> None:
    changed = write_again(backup, lambda members, manifest: members.pop("database/accounts_project/000000.copy.gz"))

    ended = elsewhere_installed.manage("restore", str(changed))

    assert ended.returncode == 1 and b"nothing was changed" in ended.stderr
    assert elsewhere_installed.rows() == {} and list(elsewhere_installed.store.iterdir()) == []


def test_a_backup_of_a_newer_stillhouse_is_refused_with_what_to_do(backup: Path, elsewhere_installed: Installation) -> None:
    def add(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["migrations"].append(["runs", "0999_from_the_future"])
        manifest["version"] = "9.0"

    changed = write_again(backup, add)

    sentence = elsewhere_installed.refused("restore", str(changed))

    assert sentence == (
        "CommandError: The backup is of another Stillhouse (9.0): it has runs.0999_from_the_future, which this one lacks. Update the code."
    )


def test_a_backup_of_another_format_is_refused(backup: Path) -> None:
    changed = write_again(backup, lambda members, manifest: manifest.update(format=2))

    with pytest.raises(BackupError, match=r"^The backup has the format 2; this version reads format 1\."):
        check(changed)
