"""Reading the audit trail: by whom, which lines, page by page and as one file."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.urls import reverse
from django.utils import timezone

from tests.webapp.conftest import signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts import audit
from webapp.accounts.audit import trail
from webapp.accounts.models import AuditEntry, Membership, Project, Role, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


@pytest.fixture
def filled(project: Project, elsewhere: Project, owner: User, operator: User, stranger: User) -> Project:
    """Three lines of a project, one of another, one about an account."""
    audit.record(operator, project, "launched", "run 1", name="one")
    audit.record(operator, project, "stopped", "run 1")
    audit.record(owner, project, "made member", "vera", role="viewer")
    audit.record(stranger, elsewhere, "launched", "run 9")
    audit.of_account(stranger, "signed in", None, by="password")
    return project


def many(project: Project, count: int) -> None:
    AuditEntry.objects.bulk_create(
        AuditEntry(who="olga", project=project, project_slug=project.slug, verb="launched", target=f"run {n}") for n in range(count)
    )


def targets(user: User, query: str = "") -> list[str]:
    return [one["target"] for one in signed_in(user).get(f"/api/v1/projects/distillery/audit/{query}").json()["results"]]


def test_an_owner_sees_the_lines_of_the_project_newest_first_and_no_others(filled: Project, owner: User) -> None:
    page = text_of(as_(owner).get(reverse("audit", args=[filled.slug])))

    assert targets(owner) == ["vera", "run 1", "run 1"]
    assert page.index("made member") < page.index("stopped") < page.index(">launched</td>")
    assert "run 9" not in page and "signed in" not in page.lower().replace("signed in as", "")


def test_an_administrator_sees_all_of_them(filled: Project, owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_staff=True)

    page = text_of(as_(owner).get(reverse("site-audit")))
    found = signed_in(owner).get("/api/v1/audit/").json()

    assert all(word in page for word in ("run 9", "elsewhere", "signed in", "made member"))
    assert found["count"] == 5 and found["results"][0]["detail"] == {"by": "password"}


@pytest.mark.parametrize("name", ["site-audit", "site-audit-export"])
def test_the_whole_trail_is_not_for_owners(name: str, owner: User) -> None:
    assert as_(owner).get(reverse(name)).status_code == 403


@pytest.mark.parametrize(("role", "code"), [(Role.OWNER, 200), (Role.REVIEWER, 403), (Role.VIEWER, 403), (None, 404)])
@pytest.mark.parametrize("name", ["audit", "audit-export"])
def test_a_projects_trail_is_for_its_owners(name: str, role: Role | None, code: int, project: Project) -> None:
    someone = User.objects.create_user("sam")
    if role:
        Membership.objects.create(user=someone, project=project, role=role)

    assert as_(someone).get(reverse(name, args=[project.slug])).status_code == code


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?who=otto", ["run 1", "run 1"]),
        ("?verb=launched", ["run 1"]),
        ("?who=otto&verb=made%20member", []),
        ("?since=2020-01-31", ["vera", "run 1", "run 1"]),
        ("?until=2020-01-31", []),
        ("?until=9999-12-31&since=0001-01-01", ["vera", "run 1", "run 1"]),
    ],
)
def test_lines_are_found_by_person_deed_and_day(query: str, found: list[str], filled: Project, owner: User) -> None:
    assert targets(owner, query) == found


def test_the_first_and_the_last_day_belong_to_it(filled: Project, owner: User) -> None:
    today = timezone.now().date()

    assert len(targets(owner, f"?since={today}&until={today}")) == 3
    assert targets(owner, f"?since={today + timedelta(days=1)}") == targets(owner, f"?until={today - timedelta(days=1)}") == []


def test_a_filter_that_makes_no_sense_is_refused_with_its_name(filled: Project, owner: User) -> None:
    answer = signed_in(owner).get("/api/v1/projects/distillery/audit/?since=yesterday")
    page = as_(owner).get(reverse("audit", args=[filled.slug]), {"since": "yesterday"})

    assert answer.json() == {"errors": [{"field": "since", "message": "Enter a valid date."}]}
    assert page.status_code == 400 and "since: Enter a valid date." in text_of(page) and "run 1" in text_of(page)


def test_pages_have_fifty_lines_and_cost_the_same_however_many_there_are(
    project: Project, owner: User, django_assert_max_num_queries: Any
) -> None:
    many(project, 120)
    client, address = as_(owner), reverse("audit", args=[project.slug])

    with django_assert_max_num_queries(8):
        first = text_of(client.get(address))
    last = text_of(client.get(address, {"page": "3", "verb": "launched"}))

    assert first.count("<tr>") == 51 and "Page 1 of 3" in first and "run 119<" in first
    assert last.count("<tr>") == 21 and "run 0<" in last and "verb=launched" in last


@pytest.mark.parametrize("page", ["0", "-1", "x", "99999999999999999999", ""])
def test_a_page_that_there_is_not_is_the_nearest(page: str, filled: Project, owner: User) -> None:
    assert as_(owner).get(reverse("audit", args=[filled.slug]), {"page": page}).status_code == 200


def test_a_persons_own_page_tells_what_happened_to_the_account(owner: User, viewer: User) -> None:
    audit.of_account(owner, "signed in", None)
    audit.by_operator(owner, "turned second factor off")
    audit.of_account(viewer, "changed password", None)

    assert [entry.verb for entry in trail.of_person(owner)] == ["turned second factor off", "signed in"]


def download(user: User, address: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text, read as an ASGI server reads them."""
    client = AsyncClient()
    client.force_login(user)

    async def read() -> tuple[int, dict[str, str], str]:
        response = await client.get(address)
        body = b"".join([chunk async for chunk in response]) if response.streaming else response.content
        return response.status_code, dict(response.headers), body.decode()

    return async_to_sync(read)()


@pytest.mark.django_db(transaction=True)
class TestExport:
    def test_csv_has_a_head_and_a_line_for_each_and_no_formula(self, filled: Project, owner: User) -> None:
        audit.record(owner, filled, "made member", "=HYPERLINK(1)", role="+1")

        _, headers, text = download(owner, reverse("audit-export", args=[filled.slug]))

        rows = list(csv.DictReader(io.StringIO(text)))
        assert headers["Content-Type"].startswith("text/csv")
        assert headers["Content-Disposition"] == 'attachment; filename="audit-distillery.csv"'
        assert [row["target"] for row in rows] == ["'=HYPERLINK(1)", "vera", "run 1", "run 1"]
        assert rows[1] | {"at": ""} == {
            "at": "", "who": "olga", "verb": "made member", "target": "vera", "project": "distillery", "address": "", "detail": '{"role": "viewer"}',
        }  # fmt: skip

    def test_json_lines_are_what_the_api_answers(self, filled: Project, owner: User) -> None:
        _, headers, text = download(owner, "/api/v1/projects/distillery/audit/export/?form=jsonl&who=otto")

        rows = [json.loads(line) for line in text.splitlines()]
        assert headers["Content-Type"] == "application/x-ndjson"
        assert [(row["who"], row["verb"], row["detail"]) for row in rows] == [
            ("otto", "stopped", {}),
            ("otto", "launched", {"name": "one"}),
        ]

    def test_it_is_sent_piece_by_piece_and_never_held_whole(self, project: Project, owner: User) -> None:
        many(project, 3 * trail.BLOCK + 1)

        async def lengths() -> list[int]:
            return [piece.count("\n") async for piece in trail.exported(trail.TrailFilter({}).chosen(AuditEntry.objects.all()), "jsonl")]

        assert async_to_sync(lengths)() == [0, trail.BLOCK, trail.BLOCK, trail.BLOCK, 1]

    def test_what_is_written_meanwhile_neither_doubles_nor_shifts_a_line(self, project: Project, owner: User) -> None:
        many(project, 2 * trail.BLOCK)

        async def read() -> list[str]:
            found = []
            async for piece in trail.exported(trail.TrailFilter({}).chosen(AuditEntry.objects.all()), "jsonl"):
                if piece:
                    found += [json.loads(line)["target"] for line in piece.splitlines()]
                    await AuditEntry.objects.acreate(who="olga", verb="launched", target="new", project=project)
            return found

        assert async_to_sync(read)() == [f"run {n}" for n in reversed(range(2 * trail.BLOCK))]

    @pytest.mark.parametrize("query", ["?form=xml", "?since=yesterday"])
    def test_a_form_or_a_filter_that_there_is_not_is_refused(self, query: str, filled: Project, owner: User) -> None:
        status, _, _ = download(owner, f"/api/v1/projects/distillery/audit/export/{query}")
        page, _, _ = download(owner, f"/p/distillery/audit/export/{query}")

        assert (status, page) == (400, 400)
