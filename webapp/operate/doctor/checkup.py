"""All that the doctor looks at, in the order in which one thing needs another."""

from collections.abc import Iterator
from functools import partial

from django.db import DatabaseError

from webapp.operate.doctor import machine, servers, settings, work
from webapp.operate.doctor.lines import Look, Remark


def checkup(url: str) -> Iterator[Remark]:
    """One line after the other. What needs the database, and fails because its tables are of another version, says so."""
    looks: tuple[Look, ...] = (
        machine.versions,
        settings.exposure,
        machine.store,
        machine.disks,
        machine.gpus,
        servers.embedded,
        servers.database,
        servers.doorbell,
        partial(work.web, url),
    )
    for look in looks:
        yield from look()
    for look in (work.beat, work.workers, work.queue):
        try:
            yield from look()
        except DatabaseError:
            yield Remark(
                "problem", look.__name__, "can't be looked at without the database's tables", "see the lines about database and migrations"
            )
