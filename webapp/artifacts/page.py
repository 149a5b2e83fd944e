"""What an artifact's page shows of it: tensors with their numbers in brief, JSON as a tree, tables, text, pictures.

A file is shown by what its name's ending says that it is. Of each kind a request reads only so much, and a file that does not hold what
it should is reported in a sentence: an artifact is a file, it may hold anything.
"""

import base64
import codecs
import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from django.http import Http404, QueryDict

from engine import charts
from webapp import store
from webapp.api.parameters import whole_number_in
from webapp.artifacts import tensors, trees
from webapp.artifacts.downloads import files_of
from webapp.artifacts.tensors import Brief, TensorEntry, Unreadable
from webapp.artifacts.trees import RecordTable, Tree
from webapp.figures.shown_charts import ShownChart, charts_of
from webapp.runs.models import Artifact

MOST_TENSORS = 400
MOST_JSON = 4 * 2**20
"""What is unfolded and searched while a person waits; of the worst shapes, short entries and many, that is some seconds."""
MOST_TEXT = 128 * 2**10
MOST_LINES = 200
MOST_PICTURE = 4 * 2**20
MOST_FILES = 200
LONGEST_SEARCH = 200
LAST_ENTRY = 10**9
MOST_PLOTTED = 2000
"""Numbers of a vector that is drawn."""

PICTURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
"""How the files of pictures begin that a browser shows."""
USUAL = ("records.json", "model.safetensors", "model.json")
"""Which file of a folder is looked at unless another is asked for, the best first."""


@dataclass(frozen=True)
class Asked:
    """What of the artifact: a file of a folder, a tensor of a file, words to find, from which entry on."""

    file: str = ""
    tensor: str = ""
    sought: str = ""
    start: int = 0

    @classmethod
    def read(cls, query: QueryDict) -> Self:
        start = whole_number_in(query.get("start", ""), most=LAST_ENTRY) or 0
        return cls(query.get("file", ""), query.get("tensor", ""), query.get("q", "")[:LONGEST_SEARCH], start)


@dataclass(frozen=True)
class File:
    """One file of a folder."""

    name: str
    bytes: int


@dataclass(frozen=True)
class TensorRow:
    """One line of the table of tensors. `spark` is its histogram as the path of a drawing 64 wide and 16 high."""

    entry: TensorEntry
    brief: Brief | None
    spark: str
    chosen: bool


@dataclass(frozen=True)
class Look:
    """What is shown. `sentence` says what is wrong, or what is left out; the parts that are empty are not there."""

    sentence: str = ""
    asked: Asked = field(default_factory=Asked)
    files: tuple[File, ...] = ()
    charts: tuple[ShownChart, ...] = ()
    facts: Tree | None = None
    tensors: tuple[TensorRow, ...] = ()
    tensor_count: int = 0
    closer: tuple[ShownChart, ...] = ()
    tree: Tree | None = None
    records: RecordTable | None = None
    columns: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()
    text: str = ""
    picture: str = ""

    @property
    def searchable(self) -> bool:
        return self.tree is not None or self.records is not None

    @property
    def slice(self) -> trees.Slice | None:
        listed = self.tree or self.records
        return listed.slice if listed is not None else None


def look_at(artifact: Artifact, asked: Asked, *, number: int) -> Look:
    """`number` is the run's, for its color. Raises Http404 for a file that the artifact's folder does not have."""
    try:
        path = store.existing(artifact.path)
    except Http404:
        return Look("The file is not in the store any more, so there is nothing to look at.", asked)
    files: tuple[File, ...] = ()
    if path.is_dir():
        members = {file.relative_to(path).as_posix(): file for file in files_of(path)}
        if asked.file and asked.file not in members:
            raise Http404("The artifact has no such file.")
        asked = replace(asked, file=asked.file or next((name for name in USUAL if name in members), min(members, default="")))
        if not asked.file:
            return Look("The folder is empty.", asked)
        files = tuple(File(name, file.stat().st_size) for name, file in list(members.items())[:MOST_FILES])
        path = members[asked.file]
    try:
        look = _look(path, asked, number)
    except Unreadable as error:
        look = Look(str(error))
    except OSError:
        look = Look("The file can't be read at the moment.")
    return replace(look, asked=replace(asked, tensor=look.asked.tensor), files=files)


def _look(path: Path, asked: Asked, number: int) -> Look:
    match path.suffix.lower():
        case ".safetensors":
            return _tensors(path, asked, number)
        case ".json":
            return _json(path, asked, number)
        case ".csv" | ".tsv":
            return _cells(path)
        case ".png" | ".jpg" | ".jpeg" | ".gif" | ".webp":
            return _picture(path)
    return _text(path)


# Tensors


def _tensors(path: Path, asked: Asked, number: int) -> Look:
    head = tensors.read_head(path)
    listed = head.tensors[:MOST_TENSORS]
    chosen = next((one for one in head.tensors if one.name == asked.tensor), listed[0] if listed else None)
    try:
        briefs = tensors.briefs(path, listed)
        closer = _closer(path, chosen, briefs[listed.index(chosen)] if chosen in listed else None, number) if chosen is not None else ()
    except ValueError:
        raise Unreadable("The file changed or was cut off while it was read.") from None
    rows = [TensorRow(entry, brief, _spark(brief), entry is chosen) for entry, brief in zip(listed, briefs, strict=True)]
    facts = dict(head.facts)
    drawn = facts.pop("views", None)
    facts.pop("shapes", None)  # the table says them
    tree = trees.shown(facts) if facts else None
    return Look(
        "" if listed else "The file holds no tensors.",
        replace(asked, tensor=chosen.name if chosen is not None else ""),
        charts=tuple(charts_of(drawn, number=number)) if isinstance(drawn, Mapping) else (),
        facts=tree if isinstance(tree, Tree) else None,
        tensors=tuple(rows),
        tensor_count=len(head.tensors),
        closer=closer,
    )


def _closer(path: Path, entry: TensorEntry, brief: Brief | None, number: int) -> tuple[ShownChart, ...]:
    """The figures of one tensor: how its numbers are spread, and how they lie where it is a matrix or a short vector."""
    drawn: dict[str, Any] = {}
    if brief is not None:
        note = "" if brief.share == 1 else f"of {brief.share:.1%} of the numbers, in pieces spread evenly over them"
        drawn["1-histogram"] = charts.histogram(entry.name, brief.edges, {"numbers": brief.counts}, x="value", note=note)
    values = tensors.matrix(path, entry)
    if values is not None:
        rows, columns = entry.shape[-2:]
        of = "" if len(entry.shape) == 2 else f"the first of {entry.size.rpartition(' × ')[0].rpartition(' × ')[0]} matrices; "
        blocks = "" if values.shape == (rows, columns) else f"means of blocks: it has {rows:,} rows and {columns:,} columns"
        drawn["2-heatmap"] = charts.heatmap(
            f"{entry.name}, as a matrix",
            _drawable(values[::-1]),  # the first row is at the top, as a matrix is written
            rows=_places(rows, len(values))[::-1],
            columns=_places(columns, values.shape[1]),
            x="column",
            y="row",
            note=(of + blocks).rstrip("; "),
        )
    elif len(entry.shape) == 1 and 2 <= entry.shape[0] <= MOST_PLOTTED and (numbers := tensors.vector(path, entry)) is not None:
        drawn["2-lines"] = charts.lines(
            f"{entry.name}, in order", {"value": (range(len(numbers)), _drawable([numbers])[0])}, x="place", y="value"
        )
    return tuple(charts_of(drawn, number=number))


def _places(length: int, blocks: int) -> list[str]:
    """What the rows or columns of a heat map are called: the place of each block's first, from 0."""
    return [f"{place * length // blocks}" for place in range(blocks)]


def _drawable(rows: Any) -> list[list[float | None]]:
    """Rows of numbers as JSON takes them: None for what is not finite."""
    return [[float(f"{value:.4g}") if abs(value) < float("inf") else None for value in row.tolist()] for row in rows]


def _spark(brief: Brief | None) -> str:
    if brief is None:
        return ""
    width, most = 64 / len(brief.counts), max(brief.counts) or 1
    bars = (f"M{place * width:g} 16V{16 - 16 * count / most:.3g}h{width:g}V16z" for place, count in enumerate(brief.counts) if count)
    return "".join(bars)


# JSON, tables, text, pictures


def _json(path: Path, asked: Asked, number: int) -> Look:
    with store.opened(path) as file:
        data = file.read(MOST_JSON + 1)
    if len(data) > MOST_JSON:
        size = path.stat().st_size
        return replace(_text(path), sentence=f"The file has {size / 2**20:,.0f} MiB, too many to unfold here: this is how it begins.")
    try:
        content = store.parsed(data)
        listed = trees.shown(content, sought=asked.sought, start=asked.start)
    except (ValueError, RecursionError):
        raise Unreadable("The file is not JSON, though its name says so; it can be downloaded as it is.") from None
    drawn = charts_of({"content": content}, number=number)
    return Look(
        charts=tuple(drawn), tree=listed if isinstance(listed, Tree) else None, records=listed if isinstance(listed, RecordTable) else None
    )


def _cells(path: Path) -> Look:
    text, whole = _beginning(path)
    if not whole:
        text = text[: text.rfind("\n") + 1] or text  # no half line
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except csv.Error:
        raise Unreadable("The file is not a table, though its name says so; it can be downloaded as it is.") from None
    if not rows:
        return Look("The file is empty.")
    cut = not whole or len(rows) - 1 > MOST_LINES
    sentence = f"These are the first {min(len(rows) - 1, MOST_LINES):,} rows." if cut else ""
    return Look(sentence, columns=tuple(rows[0]), cells=tuple(tuple(row) for row in rows[1 : MOST_LINES + 1]))


def _text(path: Path) -> Look:
    text, whole = _beginning(path)
    if not text:
        return Look("The file is empty.")
    lines = text.splitlines()
    cut = not whole or len(lines) > MOST_LINES
    sentence = f"These are the first {min(len(lines), MOST_LINES):,} lines." if cut else ""
    return Look(sentence, text="\n".join(lines[:MOST_LINES]))


def _beginning(path: Path) -> tuple[str, bool]:
    """The first MOST_TEXT bytes as text, and whether that is all of the file. Raises Unreadable for what is no text."""
    with store.opened(path) as file:
        data = file.read(MOST_TEXT + 1)
    whole = len(data) <= MOST_TEXT
    try:
        if b"\0" in data:
            raise ValueError
        # A letter that the cut went through is left out; damage anywhere else is refused.
        return codecs.getincrementaldecoder("utf-8")().decode(data[:MOST_TEXT], final=whole), whole
    except ValueError:
        raise Unreadable("Files of this kind can't be shown here; it can be downloaded as it is.") from None


def _picture(path: Path) -> Look:
    with store.opened(path) as file:
        data = file.read(MOST_PICTURE + 1)
    if len(data) > MOST_PICTURE:
        raise Unreadable(f"The picture has more than {MOST_PICTURE // 2**20} MiB; download it to look at it.")
    form = next((name for start, name in PICTURES.items() if data.startswith(start)), None)
    if form is None:
        raise Unreadable("The file is no picture, though its name says so; it can be downloaded as it is.")
    return Look(picture=f"data:image/{form};base64,{base64.b64encode(data).decode()}")
