"""Who may do what: users, projects, memberships with a role, and API tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.validators import RegexValidator
from django.db import models


class User(AbstractUser):
    """A person. Custom from the first migration, so that it can grow.

    `token` is set for the length of a request that came with an API token, and limits what the person may do in it. It is asked wherever
    the person's role is (permissions.py), so no view can forget it. `otp_device` is set by the middleware of django-otp when the session has shown
    the second factor.
    """

    token: ApiToken | None = None
    otp_device: Any = None


class Role(models.TextChoices):
    """Each role may do all that the ones before it may."""

    VIEWER = "viewer", "Viewer: looks at runs and comparisons"
    OPERATOR = "operator", "Operator: also launches, stops, resumes and deletes runs"
    REVIEWER = "reviewer", "Reviewer: also gives verdicts and promotes students"
    OWNER = "owner", "Owner: also manages members and settings"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def includes(self, other: Role) -> bool:
        return self.rank >= other.rank


class Project(models.Model):
    """What runs, models and comparisons belong to."""

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True, max_length=4000)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="projects")
    last_run_number = models.PositiveIntegerField(default=0, editable=False, help_text="Of the newest run; only launching raises it.")
    keep_checkpoints = models.BooleanField(default=False, help_text="Succeeded runs keep their checkpoints beside their student.")
    served_at = models.DateTimeField(
        null=True, editable=False, help_text="When a worker last took a run of it: projects are served in turn."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="In the trash since.")
    gone_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Deleted for good: only this row is left, for the audit trail."
    )

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(gone_at__isnull=True) | models.Q(deleted_at__isnull=False), name="gone_project_was_in_the_trash"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "project"], name="one_membership_a_project"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.project}: {self.role}"


class Scope(models.TextChoices):
    """What a token may do at most; its owner's role limits it further. Each scope includes the ones before it."""

    READ = "read", "Read: runs, metrics, evaluations"
    LAUNCH = "launch", "Launch: also launch, stop and resume runs"
    ADMIN = "admin", "Admin: all that the owner of the token may do"

    @property
    def rank(self) -> int:
        return list(Scope).index(self)

    def includes(self, other: Scope) -> bool:
        return self.rank >= other.rank


class ApiToken(models.Model):
    """A token of one person for one project. Only a hash is stored (tokens.py); the token itself is shown once, when it is made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, help_text="The token's first characters, to recognize it by.")
    digest = models.CharField(max_length=64, unique=True, validators=[RegexValidator(r"^[0-9a-f]{64}$")])
    scope = models.CharField(max_length=20, choices=Scope.choices, default=Scope.READ)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [models.CheckConstraint(condition=models.Q(scope__in=Scope.values), name="token_scope_is_known")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AuditEntry(models.Model):
    """Who did what to which object, for the things that matter: launches, stops, deletions, tokens, memberships, sign-ins, passwords.

    Written by `webapp.accounts.audit` and never changed: a trigger in the database refuses it. `who` is the person's name as it was, and
    `project_slug` the project's, so that a line outlives both. Without a project it is about an account.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    who = models.CharField(max_length=150, blank=True)
    project = models.ForeignKey(Project, null=True, on_delete=models.SET_NULL, related_name="audit_entries")
    project_slug = models.CharField(max_length=60, blank=True)
    verb = models.CharField(max_length=40)
    target = models.CharField(max_length=200)
    detail = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-at"]
        indexes: ClassVar = [models.Index(fields=["project", "-id"], name="audit_of_a_project")]

    def __str__(self) -> str:
        return f"{self.who} {self.verb} {self.target}"


class SignedInSession(models.Model):
    """Where a person is signed in: what Django's own row of the session does not say. It goes when that one does."""

    session = models.OneToOneField("sessions.Session", on_delete=models.CASCADE, related_name="signed_in")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="signed_in_sessions")
    address = models.GenericIPAddressField(null=True, help_text="Of the last request.")
    browser = models.CharField(max_length=200, blank=True, help_text="As it calls itself.")
    signed_in_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-seen_at"]

    def __str__(self) -> str:
        return f"{self.user} at {self.address}"


class ProviderIdentity(models.Model):
    """A person as an identity provider knows them. Its subject never passes to somebody else there, which a name or an address may."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["issuer", "subject"], name="one_account_an_identity")]

    def __str__(self) -> str:
        return f"{self.subject} at {self.issuer}"
