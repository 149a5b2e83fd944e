"""What can be chosen: methods and tasks, copied from the engine's cards by `manage.py sync_catalog`, and models that runs have made."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models


class Method(models.Model):
    """A method's card as the web knows it. Rows are never deleted: a run keeps pointing at a method that has gone (`available` False)."""

    id = models.SlugField(primary_key=True, max_length=60)
    version = models.PositiveIntegerField()
    family = models.CharField(max_length=60)
    title = models.CharField(max_length=200)
    summary = models.TextField()
    paper = models.CharField(max_length=200)
    card = models.JSONField(help_text="Settings schema, presets, needs, baseline.")
    readme = models.TextField(blank=True)
    available = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.title


class Task(models.Model):
    """A task's card as the web knows it."""

    id = models.SlugField(primary_key=True, max_length=60)
    version = models.PositiveIntegerField()
    kind = models.CharField(max_length=30)
    title = models.CharField(max_length=200)
    summary = models.TextField()
    card = models.JSONField(help_text="Options schema, architectures, default teacher recipe, headline metrics.")
    available = models.BooleanField(default=True)

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.title


class ModelRecord(models.Model):
    """A trained model: the student of a run, which may teach others. `parents` are the models that taught it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    project = models.ForeignKey("accounts.Project", on_delete=models.CASCADE, related_name="models")
    run = models.OneToOneField("runs.Run", on_delete=models.CASCADE, related_name="model")
    name = models.CharField(max_length=200)
    task = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="models")
    kind = models.CharField(max_length=30)
    architecture = models.CharField(max_length=200)
    parameters = models.BigIntegerField(null=True)
    meta = models.JSONField(default=dict, help_text="The exported model.json: builder, config, classes, input shape.")
    parents = models.ManyToManyField("self", symmetrical=False, related_name="children", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.name
