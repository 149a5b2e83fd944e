"""Workers for tests, as they would write themselves."""

from typing import Any

from webapp.fleet.models import Worker


def worker(name: str = "box:1", **about: Any) -> Worker:
    """One that lives, shares the store, and trains on the CPU unless told otherwise."""
    return Worker.objects.create(**{"name": name, "host": "box", "cpu_slots": 2, "store_problem": ""} | about)


def gpus(count: int) -> dict[str, Any]:
    """What a worker with so many GPUs and no slot on the CPU says of itself."""
    return {"cpu_slots": 0, "gpu_count": count}
