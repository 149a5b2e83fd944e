from django.contrib import admin

from webapp.read_only import ReadOnlyAdmin
from webapp.runs.models import Quota, Run


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin[Run]):
    """To look at only: `lifecycle` alone writes a run's state."""

    list_display = ("name", "project", "method", "task", "state", "step", "attempt", "created_at")
    list_filter = ("state", "project", "method")
    search_fields = ("name", "id")
    list_select_related = ("project", "method", "task")


@admin.register(Quota)
class QuotaAdmin(admin.ModelAdmin[Quota]):
    """What a project or a person may have at most. Empty fields leave it to the operator's defaults."""

    list_display = ("__str__", "queued_runs", "running_runs", "steps", "seconds", "store_bytes")
    list_select_related = ("project", "person")
    autocomplete_fields = ("project", "person")
