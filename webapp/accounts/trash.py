"""How long runs and projects stay in the trash."""

from datetime import timedelta

from django.conf import settings
from django.db.models.expressions import Combinable
from django.db.models.functions import Now


def time_is_up() -> Combinable:
    """What was deleted before this moment, by the database's clock, can't be restored: retention deletes it for good."""
    return Now() - timedelta(days=settings.TRASH_DAYS)
