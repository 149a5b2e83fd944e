"""A copy of the project that a test may add files to, and commands that run in it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHANGED, LINKED = ("engine", "docs", "tests"), ("webapp", "workers", "templates")
"""What a test may change is copied; what is only read is linked."""


@dataclass(frozen=True)
class ProjectCopy:
    """The project in another folder, with the interpreter and the packages of this one."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "ProjectCopy":
        """Copies the project into `folder`, which must not exist yet; without recordings, which nothing here reads."""
        folder.mkdir()
        for room in CHANGED:
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__", "recorded"))
        for room in LINKED:
            (folder / room).symlink_to(ROOT / room)
        shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
        return cls(folder)

    def write(self, path: str, text: str) -> None:
        """A new file. Where there is one already the test would show nothing."""
        file = self.folder / path
        assert not file.exists(), f"{path} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs this interpreter in the copy, with the copy's modules."""
        return self.shell(" ".join(["python", *arguments]))

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Runs shell commands in the copy up to the first that fails; `python` is this interpreter with the copy's modules."""
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "240",
        }
        real = f'python() {{ "{sys.executable}" "$@"; }}\n{script}'
        return subprocess.run(["bash", "-ec", real], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
