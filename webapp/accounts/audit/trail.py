"""Reading the audit trail: whose lines a person may see, which of them were asked for, page by page or as one file."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, time
from typing import Any

from asgiref.sync import sync_to_async
from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet

from engine.errors import Problem, SpecError
from webapp.accounts.models import AuditEntry, Role, User
from webapp.accounts.permissions import project_for

COLUMNS = ("at", "who", "verb", "target", "project", "address", "detail")
PAGE = 50
BLOCK = 1000
"""Rows of an export that are fetched and sent at once."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


class TrailFilter(forms.Form):
    """What of the trail is asked for; all of it where nothing is said."""

    who = forms.CharField(required=False, max_length=150, help_text="User name.")
    verb = forms.CharField(required=False, max_length=40, help_text="What was done, for example `launched`.")
    since = forms.DateField(required=False, help_text="First day (UTC), as 2026-01-31.")
    until = forms.DateField(required=False, help_text="Last day (UTC).")

    def chosen(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        """Those that fit, newest first. Raises SpecError for a filter that makes no sense."""
        if not self.is_valid():
            raise SpecError([Problem(name, str(messages[0])) for name, messages in self.errors.items()])
        asked, wanted = self.cleaned_data, Q()
        for name in ("who", "verb"):
            if asked[name]:
                wanted &= Q(**{name: asked[name]})
        if asked["since"]:
            wanted &= Q(at__gte=datetime.combine(asked["since"], time.min, UTC))
        if asked["until"]:
            wanted &= Q(at__lte=datetime.combine(asked["until"], time.max, UTC))
        return entries.filter(wanted).order_by("-pk")


def of_project(user: User, slug: str) -> QuerySet[AuditEntry]:
    """The project's lines. For its owners: raises Http404 and PermissionDenied."""
    return AuditEntry.objects.filter(project=project_for(user, slug, Role.OWNER).pk)


def of_site(user: User) -> QuerySet[AuditEntry]:
    """Every line, those about accounts too. For staff that is signed in by session: a token is for one project. Raises PermissionDenied."""
    if not user.is_staff or user.token is not None:
        raise PermissionDenied("The whole audit trail is for administrators who have signed in.")
    return AuditEntry.objects.all()


def of_person(user: User, *, most: int = 10) -> list[AuditEntry]:
    """The newest lines about the person's own account."""
    about = AuditEntry.objects.filter(project=None, project_slug="").filter(Q(user=user) | Q(target=user.get_username()))
    return list(about.order_by("-pk")[:most])


def row_of(entry: AuditEntry) -> dict[str, Any]:
    """A line as its columns, for the API and both files."""
    return {
        "at": entry.at.isoformat(),
        "who": entry.who,
        "verb": entry.verb,
        "target": entry.target,
        "project": entry.project_slug,
        "address": entry.address,
        "detail": entry.detail,
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Lines for a spreadsheet, in which no text is a formula."""
    written = io.StringIO()
    csv.writer(written).writerows([_cell(row[column]) for column in COLUMNS] for row in rows)
    return written.getvalue()


def as_json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


FORMS: Mapping[str, tuple[str, str, Callable[[list[dict[str, Any]]], str]]] = {
    "csv": ("text/csv; charset=utf-8", ",".join(COLUMNS) + "\r\n", as_csv),
    "jsonl": ("application/x-ndjson", "", as_json_lines),
}
"""The files that an export can be: content type, first line, and how rows are written."""


async def exported(entries: QuerySet[AuditEntry], form: str) -> AsyncIterator[str]:
    """The file, piece by piece, newest first. Each block is a statement of its own, so that a slow reader holds nothing open."""
    _, first, written = FORMS[form]
    yield first
    before: int | None = None
    while block := await sync_to_async(_block)(entries, before):
        yield written([row_of(entry) for entry in block])
        before = block[-1].pk


def _block(entries: QuerySet[AuditEntry], before: int | None) -> list[AuditEntry]:
    older = entries if before is None else entries.filter(pk__lt=before)
    return list(older[:BLOCK])


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(FORMULA) else text
