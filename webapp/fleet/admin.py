from django.contrib import admin

from webapp.fleet.models import Worker
from webapp.read_only import ReadOnlyAdmin


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin[Worker]):
    """To look at only: a worker writes its own row."""

    list_display = ("name", "version", "started_at", "heard_at", "left_at", "cpu_slots", "gpu_count", "store_problem", "set_aside_until")
    search_fields = ("name", "host")
