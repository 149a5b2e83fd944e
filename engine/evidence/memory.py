"""The most memory that a method's smallest run takes: measured in a process that makes nothing but this run, beside one that makes none.

Reported is the peak of the resident set: how many bytes of the process lay in the machine's memory at once. The engine's libraries are most of it,
so a process that only imports them is measured too, and the difference is what the run adds: its data, its networks, the libraries that only
its task needs, the judging at its end. Trained models that it begins with are made before, by another process.

The module is also the program of that process: `python -m engine.evidence.memory [run SPEC …]` does what `python -m engine` does with the same
arguments, then prints its own peak in bytes as the last line.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import EngineError, SpecError
from engine.evidence.report import machine, markdown_table, versions
from engine.evidence.tiny_runs import TinyRuns, fewer
from engine.spec import catalog
from engine.spec.cards import MethodCard

MIB: Final = 1024 * 1024
HEADING: Final = "## Memory"
NEXT: Final = "## Specs of seed"  # what the section stands before
ALONE, WITH_RUN, DIFFERENCE = "engine and torch imported, no run", "with the run", "difference"
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Peaks of the resident set, in bytes: of a process that has only imported the engine and torch, and of one with the run."""

    method: str
    alone: int
    with_run: int

    @property
    def difference(self) -> int:
        return self.with_run - self.alone

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {"alone_bytes": self.alone, "with_run_bytes": self.with_run, "difference_bytes": self.difference}

    def to_table(self) -> str:
        """In MiB, as Markdown."""
        rows = ((ALONE, self.alone), (WITH_RUN, self.with_run), (DIFFERENCE, self.difference))
        return markdown_table(["process", "peak resident set, MiB"], [[name, f"{size / MIB:.0f}"] for name, size in rows])

    def to_markdown(self) -> str:
        """The section of the page under docs/evidence/."""
        card = catalog.methods()[self.method]
        options = ", ".join(f"`{name}` {rows}" for name, rows in fewer(catalog.tasks()[card.task]).items())
        task = f"`{card.task}` with {options}" if options else f"`{card.task}`"
        run = f"One run of the preset `tiny` on the task {task}, from its first import to its last judgment, in a process of its own."
        made = " The trained models that it begins with were made before, by another process." if _begins_with_models(card) else ""
        how = f" By `{command_of(self.method)}`, with torch {versions()['torch']}. Machine: {machine()}."
        return "\n\n".join([HEADING, run + made + how, self.to_table()])


def command_of(method_id: str) -> str:
    """What a reader types, in the project's folder, to measure again and renew the section."""
    return f"python -m engine evidence {method_id} --memory --write docs/evidence/{method_id}.md"


def measure_memory(method_id: str, folder: Path) -> Memory:
    """Measures a method's tiny run on few rows, on the CPU with one thread, with files below `folder`.

    Raises SpecError when there is no such method, EngineError with the run's own sentence when it does not succeed.
    """
    if method_id not in catalog.methods():
        raise SpecError.at("method", f"there is no method {method_id!r:.80}; choose one of {', '.join(catalog.methods())}.")
    folder.mkdir(parents=True, exist_ok=True)
    card = catalog.methods()[method_id]
    runs = TinyRuns(card, folder / "models", options=fewer(catalog.tasks()[card.task]))
    spec = folder / "spec.json"
    spec.write_text(runs.spec(device="cpu").model_dump_json(), encoding="utf-8")
    models = [argument for ref, path in runs.models.items() for argument in ("--model", f"{ref}={path}")]
    return Memory(
        method_id, _peak_of_a_process(), _peak_of_a_process("run", str(spec), "--workdir", str(folder / "run"), "--quiet", *models)
    )


def _begins_with_models(card: MethodCard) -> bool:
    return any(needs is not None and needs.trained_weights for needs in (card.teachers, card.student))


def _peak_of_a_process(*arguments: str) -> int:
    """The peak of a new process that does what the engine does with these arguments."""
    ended = subprocess.run(
        [sys.executable, "-m", "engine.evidence.memory", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise EngineError(f"The run whose memory was measured did not succeed: {ended.stderr.strip().removeprefix('error: ')}")
    return int(ended.stdout.splitlines()[-1])


def peak_bytes() -> int:
    """The peak of this process's resident set.

    Linux remembers two: `VmHWM` is that of the program, while getrusage's ru_maxrss never falls below that of the process that started it, so a
    large parent would be measured in place of its child. Other systems have the second only, in bytes on macOS and in KiB elsewhere.
    """
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(encoding="utf-8"), re.MULTILINE)):
        return int(found[1]) * 1024
    import resource  # no such module on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# The page


def with_section(page: str, section: str) -> str:
    """The page with this section in the place of the one that it has, or before the runs' specs. All other text stays as it is."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    kept = [part for part in parts if not part.startswith(f"{HEADING}\n")]
    place = next((i for i, part in enumerate(parts) if part.startswith(f"{HEADING}\n")), None)
    if place is None:
        place = next((i for i, part in enumerate(parts) if part.startswith(NEXT)), len(parts))
    before, after = "".join(kept[:place]).rstrip("\n"), "".join(kept[place:])
    return f"{before}\n\n{section}\n" + (f"\n{after}" if after else "")


def peak_on(page: str) -> int | None:
    """The peak with the run, in MiB, as a page gives it; None for a page without the section."""
    section = page.partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    found = re.search(rf"^\| {WITH_RUN} +\| (\d+) +\|$", section, re.MULTILINE)
    return int(found[1]) if found else None


def main(arguments: Sequence[str]) -> int:
    """The measured process: everything that any run imports, then the run if there is one, then the peak as the last line of stdout."""
    import engine.cli.run  # noqa: F401  (torch, and the runner)
    from engine.cli import main as cli

    code = cli.main(arguments) if arguments else cli.SUCCEEDED
    sys.stdout.write(f"{peak_bytes()}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
