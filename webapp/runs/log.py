"""The lines that a run's engine and worker wrote for people."""

from webapp.runs.models import LogLine, Run


def lines_of(run: Run, *, after: int = 0, limit: int, tail: bool = False) -> list[LogLine]:
    """Lines of the log after the one with this id, oldest first: the first `limit` of them, or the last with `tail`."""
    lines = LogLine.objects.filter(run=run, id__gt=after)
    return list(lines.order_by("-id")[:limit])[::-1] if tail else list(lines.order_by("id")[:limit])
