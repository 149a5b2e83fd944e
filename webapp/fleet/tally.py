"""Counts that only grow, whoever counts: workers and their watchdog add to them, and every web process reports the same ones.

They are rows and not counts of rows: a run that is deleted for good takes its attempts with it, and a counter that falls is read as one that
has begun anew.
"""

from collections.abc import Mapping

from django.db import connection

from webapp.fleet.models import Tally

ATTEMPTS = "attempts/"
"""And how they ended."""
LOOKS = "watchdog/looks"

_ADD = """
INSERT INTO fleet_tally (name, value) SELECT name, value FROM unnest(%s::text[], %s::float8[]) AS new (name, value) ORDER BY name
ON CONFLICT (name) DO UPDATE SET value = fleet_tally.value + EXCLUDED.value
"""


def add(amounts: Mapping[str, float]) -> None:
    """One statement, in the transaction at hand. In the order of names, so that two who add at once never wait for each other in a circle."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [list(amounts), [float(amount) for amount in amounts.values()]])


def newest() -> dict[str, float]:
    return dict(Tally.objects.values_list("name", "value"))
