from django.contrib import admin

from webapp.catalog.models import Method, ModelRecord, Task


@admin.register(Method)
class MethodAdmin(admin.ModelAdmin[Method]):
    list_display = ("id", "title", "family", "version", "available")
    list_filter = ("family", "available")


@admin.register(Task)
class TaskAdmin(admin.ModelAdmin[Task]):
    list_display = ("id", "title", "kind", "version", "available")


@admin.register(ModelRecord)
class ModelRecordAdmin(admin.ModelAdmin[ModelRecord]):
    list_display = ("name", "project", "task", "architecture", "parameters", "created_at")
    list_filter = ("project", "task")
    raw_id_fields = ("run", "parents")
