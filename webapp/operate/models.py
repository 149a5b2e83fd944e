"""What the parts of an installation say of themselves, so that `manage.py doctor` can tell which has fallen silent."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Heard(models.Model):
    """When a recurring job was last done, by the database's clock: `watchdog` each few seconds, `retention` each few minutes."""

    name = models.CharField(max_length=60, primary_key=True)
    at = models.DateTimeField(db_default=Now())
    detail = models.TextField(blank=True, help_text="What it did, one sentence.")

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name_plural = "heard"

    def __str__(self) -> str:
        return self.name


def note(name: str, detail: str = "") -> None:
    """The job was done just now."""
    Heard.objects.update_or_create(name=name, defaults={"at": Now(), "detail": detail})
