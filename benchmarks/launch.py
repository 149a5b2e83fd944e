"""From POST to the first metric that the API shows, with a warm worker and a warm web server on this machine.

    python benchmarks/launch.py [--runs 5]

Starts a web server and a worker, and stops them again.
"""

import argparse
import statistics
import sys
import time

import httpx
import place

SECONDS = 1.0
LOOK_SECONDS = 0.02
BODY = {"method": "supervised", "task": "digits", "device": "cpu", "budget": {"steps": 200}, "cadence": {"evaluate": 200}}


def one(client: httpx.Client, slug: str, seed: int) -> float:
    """Seconds of one launch. The run is left to end before the next."""
    began = time.perf_counter()
    answer = client.post(f"projects/{slug}/runs/", json=BODY | {"seed": seed})
    answer.raise_for_status()
    (run,) = answer.json()["runs"]
    while not client.get(f"runs/{run['id']}/metrics/").raise_for_status().json()["series"]:
        time.sleep(LOOK_SECONDS)
    seconds = time.perf_counter() - began
    while client.get(f"runs/{run['id']}/").raise_for_status().json()["state"] != "succeeded":
        time.sleep(0.2)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with (
        place.project() as project,
        place.running("worker"),
        place.running("web") as address,
        httpx.Client(base_url=f"{address}/api/v1/", headers=place.authorization(project), timeout=30) as client,
    ):
        one(client, project.slug, 0)  # the web server's first answers import what they need
        seconds = [one(client, project.slug, seed) for seed in range(1, arguments.runs + 1)]
    met = place.verdict("POST to first metric, median", statistics.median(seconds), "s", SECONDS, at_least=False)
    print(f"  of {len(seconds)} launches: {', '.join(f'{each:.2f}' for each in seconds)} s")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
