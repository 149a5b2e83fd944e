from django.contrib import admin
from django.http import HttpRequest

from webapp.runs.models import Quota, Run


@admin.register(Run)
class RunAdmin(admin.ModelAdmin[Run]):
    """To look at only: `lifecycle` alone writes a run's state."""

    list_display = ("name", "project", "method", "task", "state", "step", "attempt", "created_at")
    list_filter = ("state", "project", "method")
    search_fields = ("name", "id")
    list_select_related = ("project", "method", "task")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        return False


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin[Quota]):
    """What a project or a person may have at most. Empty fields leave it to the operator's defaults."""

    list_display = ("__str__", "queued_runs", "running_runs", "steps", "seconds", "store_bytes")
    list_select_related = ("project", "person")
    autocomplete_fields = ("project", "person")
