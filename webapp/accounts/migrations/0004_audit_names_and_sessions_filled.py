from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import migrations
from django.db.models import OuterRef, Subquery
from django.utils import timezone

BLOCK = 1000


def name_who_and_where(apps, schema_editor):
    """Lines from before keep the names that people and projects have now."""
    AuditEntry, User, Project = (apps.get_model("accounts", name) for name in ("AuditEntry", "User", "Project"))
    AuditEntry.objects.exclude(user=None).update(who=Subquery(User.objects.filter(pk=OuterRef("user_id")).values("username")[:1]))
    AuditEntry.objects.exclude(project=None).update(
        project_slug=Subquery(Project.objects.filter(pk=OuterRef("project_id")).values("slug")[:1])
    )


def note_sessions(apps, schema_editor):
    """Who is signed in stays so, and finds this in the list. What can't be read, for the secret is another one, is nobody's session."""
    Session, SignedInSession, User = (
        apps.get_model(app, name) for app, name in (("sessions", "Session"), ("accounts", "SignedInSession"), ("accounts", "User"))
    )
    store, people = SessionStore(), set(User.objects.values_list("pk", flat=True))
    found = []
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator(BLOCK):
        person = str(store.decode(session.session_data).get("_auth_user_id", ""))
        if person.isdecimal() and int(person) in people:
            at = session.expire_date - timedelta(seconds=settings.SESSION_COOKIE_AGE)
            found.append(SignedInSession(session_id=session.pk, user_id=int(person), signed_in_at=at, seen_at=at))
    SignedInSession.objects.bulk_create(found, BLOCK)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_audit_sessions_identities")]
    operations = [
        migrations.RunPython(name_who_and_where, migrations.RunPython.noop),
        migrations.RunPython(note_sessions, migrations.RunPython.noop),
    ]
