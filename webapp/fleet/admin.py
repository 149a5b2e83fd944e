from django.contrib import admin
from django.http import HttpRequest

from webapp.fleet.models import Worker


@admin.register(Worker)
class WorkerAdmin(admin.ModelAdmin[Worker]):
    """To look at only: a worker writes its own row."""

    list_display = ("name", "version", "started_at", "heard_at", "left_at", "cpu_slots", "gpu_count", "store_problem", "set_aside_until")
    search_fields = ("name", "host")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False
