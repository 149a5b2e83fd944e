from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from webapp.accounts.forms import ProjectForm
from webapp.accounts.models import ApiToken, AuditEntry, Membership, Project, User

admin.site.register(User, UserAdmin)


class MembershipInline(admin.TabularInline[Membership, Project]):
    model = Membership
    extra = 1


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin[Project]):
    list_display = ("name", "slug", "created_at")
    form = ProjectForm
    prepopulated_fields = {"slug": ("name",)}
    inlines = (MembershipInline,)


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin[ApiToken]):
    """To look at and to delete. Tokens are made on the tokens page, where their text is shown once."""

    list_display = ("name", "prefix", "user", "project", "scope", "expires_at", "last_used_at", "revoked_at")
    exclude = ("digest",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    """To look at only: nobody changes or deletes the trail."""

    list_display = ("at", "user", "project", "verb", "target")
    list_filter = ("project", "verb")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
