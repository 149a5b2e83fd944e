"""Downloads of artifacts: files as they are, folders as archives, and never much of either in memory."""

import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

from tests.runs import new_run, queued_run
from tests.webapp.conftest import signed_in
from webapp.accounts.models import Project, User
from webapp.artifacts.downloads import BLOCK, content_of
from webapp.runs.models import Artifact, Run

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def run(project: Project) -> Run:
    return new_run(project)


def artifact(run: Run, path: str, *, sha256: str = "0" * 64) -> Artifact:
    return Artifact.objects.create(run=run, attempt=1, name=path[:200], kind="other", path=path, bytes=0, sha256=sha256)


def download(user: User, one: Artifact, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, read as an ASGI server reads them."""
    client = AsyncClient()
    client.force_login(user)

    async def read() -> tuple[int, dict[str, str], bytes]:
        response = await client.get(f"/api/v1/artifacts/{one.pk}/download/", headers=headers)
        body = b"".join([chunk async for chunk in response]) if response.streaming else response.content
        return response.status_code, dict(response.headers), body

    return async_to_sync(read)()


@pytest.mark.django_db(transaction=True)
class TestDownloads:
    def test_a_file_comes_as_it_is_under_a_name_of_its_own(self, viewer: User, run: Run, store: Path) -> None:
        content = bytes(range(256)) * 10_000
        (store / "tables").mkdir()
        (store / "tables" / "bins.json").write_bytes(content)

        status, headers, body = download(viewer, artifact(run, "tables/bins.json"))

        assert (status, body) == (200, content)
        assert headers["Content-Disposition"] == f'attachment; filename="{run.pk}-bins.json"'
        assert headers["Content-Length"] == "2560000"

    def test_a_folder_comes_as_a_zip_archive_without_its_links(self, viewer: User, run: Run, store: Path) -> None:
        folder = store / "student"
        folder.mkdir()
        (folder / "model.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
        (folder / "secret").symlink_to("/etc/passwd")
        os.mkfifo(folder / "pipe")

        status, headers, body = download(viewer, artifact(run, "student"))

        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
            assert archive.testzip() is None
        assert contents == {"student/model.json": b"{}", "student/model.safetensors": b"x" * 1000}
        assert (status, headers["Content-Length"]) == (200, str(len(body)))
        assert headers["Content-Disposition"] == f'attachment; filename="{run.pk}-student.zip"'

    def test_who_has_it_already_gets_no_copy(self, viewer: User, run: Run, store: Path) -> None:
        (store / "a").write_text("hello")
        one = artifact(run, "a", sha256="ab" * 32)

        status, headers, body = download(viewer, one, **{"If-None-Match": f'"{"ab" * 32}"'})

        assert (status, headers["ETag"], body) == (304, f'"{"ab" * 32}"', b"")

    @pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "link", "folder/../../outside", "", ".", "missing", "a\x7f/b"])
    def test_nothing_outside_the_store_is_sent(self, viewer: User, run: Run, store: Path, path: str) -> None:
        (store.parent / "outside").write_text("secret")
        (store / "link").symlink_to(store.parent / "outside")
        (store / "folder").mkdir()

        status, _, body = download(viewer, artifact(run, path))

        assert (status, json.loads(body)) == (404, {"detail": "This file is not in the store."})


def test_a_pipe_is_not_waited_for(viewer: User, run: Run, store: Path) -> None:
    os.mkfifo(store / "pipe")

    response = signed_in(viewer).get(f"/api/v1/artifacts/{artifact(run, 'pipe').pk}/download/")

    assert (response.status_code, response.json()) == (404, {"detail": "This file is not in the store."})


def test_head_has_the_size_and_no_body(viewer: User, run: Run, store: Path) -> None:
    (store / "a").write_text("hello")

    response = signed_in(viewer).head(f"/api/v1/artifacts/{artifact(run, 'a').pk}/download/")

    assert (response.status_code, response.headers["Content-Length"]) == (200, "5")


def test_an_artifact_that_is_not_there_is_not_found(viewer: User, project: Project) -> None:
    queued_run(project)

    response = signed_in(viewer).get(f"/api/v1/artifacts/{uuid4()}/download/")

    assert (response.status_code, response.json()) == (
        404,
        {"detail": "There is no such artifact, or its run is not in a project of yours."},
    )


@pytest.mark.parametrize("path", ["student", "student/model.safetensors"])
def test_no_more_than_a_block_of_an_artifact_is_in_memory(run: Run, store: Path, path: str) -> None:
    size = 8 * BLOCK
    (store / "student").mkdir()
    (store / "student" / "model.safetensors").write_bytes(bytes(size))
    one = artifact(run, path)

    tracemalloc.start()
    content = content_of(one)
    sent = sum(len(chunk) for chunk in content.chunks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent == content.size >= size
    assert peak < 2.5 * BLOCK  # the block that was read, and the one before it until it is given up
