"""What is written into the audit trail, and that it stays as it was written."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from tests.webapp.pages import as_
from webapp.accounts import audit
from webapp.accounts.models import AuditEntry, Membership, Project, User

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

PASSWORD = "a long enough password"


def entry(project: Project, user: User) -> AuditEntry:
    audit.record(user, project, "launched", "run 7", name="seven")
    return AuditEntry.objects.latest("pk")


def try_to_sign_in(name: str, password: str, address: str = "192.0.2.1") -> None:
    Client(REMOTE_ADDR=address).post(reverse("sign-in"), {"username": name, "password": password})


def lines() -> list[tuple[str, str, str | None]]:
    return list(AuditEntry.objects.order_by("pk").values_list("verb", "who", "address"))


class TestItStays:
    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE accounts_auditentry SET verb = 'praised'",
            "UPDATE accounts_auditentry SET detail = '{}', user_id = NULL",
            "UPDATE accounts_auditentry SET user_id = (SELECT max(id) FROM accounts_user)",
            "DELETE FROM accounts_auditentry",
        ],
    )
    def test_the_database_itself_refuses_to_change_a_line(self, change: str, project: Project, owner: User, viewer: User) -> None:
        line = entry(project, owner)

        sentence = r"A line of the audit trail is neither changed nor deleted\."
        with connection.cursor() as cursor, pytest.raises(DatabaseError, match=sentence), transaction.atomic():
            cursor.execute(change)

        assert AuditEntry.objects.get(pk=line.pk).detail == {"name": "seven"}

    def test_a_line_outlives_the_person_and_the_project_and_keeps_their_names(self, project: Project, owner: User) -> None:
        line = entry(project, owner)

        owner.delete()
        project.delete()

        line.refresh_from_db()
        assert (line.user, line.project, line.who, line.project_slug) == (None, None, "olga", "distillery")

    def test_lines_from_before_names_were_kept_get_those_of_today(self, project: Project, owner: User) -> None:
        line = entry(project, owner)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")  # as if there were no trigger yet
            AuditEntry.objects.update(who="", project_slug="")

            import_module("webapp.accounts.migrations.0004_audit_names_and_sessions_filled").name_who_and_where(apps, None)
            cursor.execute("SET LOCAL session_replication_role = DEFAULT")

        line.refresh_from_db()
        assert (line.who, line.project_slug) == ("olga", "distillery")


class TestSigningIn:
    def test_a_failure_is_written_with_the_name_where_there_is_one(self, db: None) -> None:
        User.objects.create_user("nora", password=PASSWORD)

        try_to_sign_in("nora", "wrong")
        try_to_sign_in("my secret passphrase", "wrong")

        assert lines() == [("failed to sign in", "nora", "192.0.2.1"), ("failed to sign in", "", "192.0.2.1")]
        assert not AuditEntry.objects.filter(target__contains="passphrase").exists()

    def test_guessing_is_a_line_a_minute_for_each_name_and_address(self, db: None) -> None:
        User.objects.create_user("nora", password=PASSWORD)

        for name in ("nora", "nora", "a", "b", "c"):
            try_to_sign_in(name, "wrong")
        try_to_sign_in("nora", "wrong", "192.0.2.2")

        assert lines() == [
            ("failed to sign in", "nora", "192.0.2.1"),
            ("failed to sign in", "", "192.0.2.1"),
            ("failed to sign in", "nora", "192.0.2.2"),
        ]

    def test_a_lockout_is_written(self, db: None) -> None:
        User.objects.create_user("nora", password=PASSWORD)

        for _ in range(7):
            try_to_sign_in("nora", "wrong")

        assert [line for line in lines() if line[0] == "was locked out"] == [("was locked out", "nora", "192.0.2.1")]

    def test_a_name_that_no_database_holds_is_no_error(self, db: None) -> None:
        from webapp.accounts.audit.signals import _failed

        _failed(credentials={"username": "a\x00b"}, request=None)
        _failed(credentials={}, request=None)

        assert lines() == [("failed to sign in", "", None)]


def test_a_verdict_goes_into_the_projects_trail(project: Project, reviewer: User) -> None:
    audit.verdict(reviewer, project, "run 7", "ships", reason="best calibrated")

    line = AuditEntry.objects.get()
    assert (line.who, line.verb, line.target, line.project) == ("rita", "gave verdict", "run 7", project)
    assert line.detail == {"verdict": "ships", "reason": "best calibrated"}


class TestAdministration:
    def client(self, user: User) -> Client:
        User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
        return as_(user)

    def test_a_password_that_is_set_for_somebody_is_written(self, owner: User, viewer: User) -> None:
        new = "another long password"

        answer = self.client(owner).post(
            f"/admin/accounts/user/{viewer.pk}/password/", {"password1": new, "password2": new, "usable_password": "true"}
        )

        assert answer.status_code == 302
        line = AuditEntry.objects.get()
        assert (line.who, line.verb, line.detail["what"]) == ("olga", "changed by administration", "user vera")
        assert "Changed password" in str(line.detail["change"]) or "password" in str(line.detail["change"])

    def test_a_membership_that_is_changed_there_is_in_the_projects_trail(self, owner: User, viewer: User, project: Project) -> None:
        client = self.client(owner)
        form: dict[str, Any] = {"name": project.name, "slug": project.slug, "description": ""}
        for index, one in enumerate(Membership.objects.filter(project=project).order_by("pk")):
            role = "reviewer" if one.user_id == viewer.pk else one.role
            form |= {f"memberships-{index}-{name}": value for name, value in (("id", one.pk), ("user", one.user_id), ("role", role))}
            form[f"memberships-{index}-project"] = project.pk
        form |= {"memberships-TOTAL_FORMS": 2, "memberships-INITIAL_FORMS": 2}

        answer = client.post(f"/admin/accounts/project/{project.pk}/change/", form)

        assert answer.status_code == 302 and Membership.objects.get(user=viewer).role == "reviewer"
        line = AuditEntry.objects.get()
        assert (line.project, line.verb) == (project, "changed by administration") and "membership" in str(line.detail["change"]).lower()

    def test_who_is_deleted_there_is_written(self, owner: User, viewer: User) -> None:
        self.client(owner).post(f"/admin/accounts/user/{viewer.pk}/delete/", {"post": "yes"})

        assert not User.objects.filter(pk=viewer.pk).exists()
        assert AuditEntry.objects.get().detail["what"] == "user vera"

    def test_the_trail_itself_is_only_looked_at(self, owner: User, project: Project) -> None:
        line, client = entry(project, owner), self.client(owner)

        codes = [
            client.get(f"/admin/accounts/auditentry/{path}").status_code
            for path in ("", f"{line.pk}/change/", "add/", f"{line.pk}/delete/")
        ]

        assert codes == [200, 200, 403, 403]
