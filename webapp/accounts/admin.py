from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp.accounts import audit
from webapp.accounts.forms import ProjectForm
from webapp.accounts.models import ApiToken, AuditEntry, Membership, Project, User
from webapp.accounts.permissions import person
from webapp.read_only import ReadOnlyAdmin

M = TypeVar("M", bound=Model)

# The second factor is set up by its owner and removed by a command; nobody looks at another's secret.
admin.site.unregister([TOTPDevice, StaticDevice])


class AuditedAdmin(admin.ModelAdmin[M]):
    """What is changed in the administration goes into the audit trail too, a password set for somebody and a membership among it."""

    def log_addition(self, request: HttpRequest, obj: M, message: Any) -> Any:
        self._note(request, "added by administration", obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: M, message: Any) -> Any:
        self._note(request, "changed by administration", obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[M]) -> Any:
        for obj in queryset:
            self._note(request, "deleted by administration", obj, "")
        return super().log_deletions(request, queryset)

    def _note(self, request: HttpRequest, verb: str, obj: M, message: Any) -> None:
        what = f"{self.opts.verbose_name} {obj}"
        if isinstance(obj, Project):
            audit.record(person(request), obj, verb, what, change=message)
        else:
            audit.of_account(person(request), verb, request, what=what, change=message)


@admin.register(User)
class AuditedUserAdmin(AuditedAdmin[User], UserAdmin[User]):
    """People."""


class MembershipInline(admin.TabularInline[Membership, Project]):
    model = Membership
    extra = 1


@admin.register(Project)
class ProjectAdmin(AuditedAdmin[Project]):
    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    form = ProjectForm
    prepopulated_fields = {"slug": ("name",)}
    inlines = (MembershipInline,)


@admin.register(ApiToken)
class ApiTokenAdmin(AuditedAdmin[ApiToken]):
    """To look at and to delete. Tokens are made on the tokens page, where their text is shown once."""

    list_display = ("name", "prefix", "user", "project", "scope", "expires_at", "last_used_at", "revoked_at")
    exclude = ("digest",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin[AuditEntry]):
    """To look at only: nobody changes or deletes the trail."""

    list_display = ("at", "who", "project_slug", "verb", "target", "address")
    list_filter = ("project", "verb")
