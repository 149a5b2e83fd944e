"""A finished student on disk: a folder with `model.safetensors` and `model.json`. Never pickle."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from safetensors.torch import save_model as save_tensors
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.build import build
from engine.run.storage import fsync, writing
from engine.spec.cards import TaskCard

FORMAT = 1
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")
RECORDS = "records"
"""In model.json, the SHA-256 of records.json: what a model without weights knows, as JSON that a person can read."""
FIELDS = ("kind", "task", "builder", "config", "architecture", "classes", "input_shape")


def save_model(folder: Path, model: nn.Module, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Makes `folder` hold the model, durably and all at once, and returns what model.json says.

    `meta` has at least kind, task, builder, config, architecture, classes and input_shape. Parameters tied to each other are stored once.
    Raises StorageError; what the folder held before is then still there.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    needed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    with writing("The trained model", folder.parent, needed=needed):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            content = _write(partial, model, meta)
            for path in (*partial.iterdir(), partial):
                fsync(path)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            fsync(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return content


def _write(folder: Path, model: nn.Module, meta: Mapping[str, Any]) -> dict[str, Any]:
    records = model.get_extra_state() if _has_records(model) else None
    if records is None:
        save_tensors(model, str(folder / "model.safetensors"))
    else:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)},
            folder / "model.safetensors",
        )
        (folder / "records.json").write_text(json.dumps(records, indent=1, allow_nan=False), encoding="utf-8")
    content = {
        "format": FORMAT,
        **{field: meta[field] for field in FIELDS},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "sha256": file_sha256(folder / "model.safetensors"),
        **({} if records is None else {RECORDS: file_sha256(folder / "records.json")}),
        **{field: value for field, value in meta.items() if field not in FIELDS},
    }
    (folder / "model.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return content


def load_model(folder: Path, *, card: TaskCard | None = None, foreign: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """The model in a folder, on the CPU, and its model.json. With a task's card, only a model that fits that task; a foreign one may be of
    another task and have other classes, as long as it reads examples of the same shape.

    Raises ModelError: no such folder, a pickle, a truncated or changed file, an unknown builder, or a model of another kind.
    """
    meta = read_meta(folder)
    if card is not None:
        _check_fit(folder, meta, card, foreign=foreign)
    tensors = folder / "model.safetensors"
    if not tensors.is_file():
        raise ModelError(f"The model at {folder} is incomplete: model.safetensors is missing.")
    if "sha256" in meta and file_sha256(tensors) != meta["sha256"]:
        raise ModelError(f"The model at {folder} is damaged: model.safetensors is truncated or was changed.")
    try:
        model = build(meta["builder"], meta["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The model at {folder} can't be built from {meta['builder']!r:.80} with its config: {error}") from None
    try:
        if RECORDS in meta:
            model.set_extra_state(_records(folder, meta[RECORDS]))
        missing, unexpected = model.load_state_dict(_with_tied(model, load_file(tensors)), strict=False)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"The model at {folder} is damaged: model.safetensors can't be read ({error}).") from None
    except RuntimeError as error:
        raise ModelError(f"The weights at {folder} do not fit its model.json: {str(error).splitlines()[-1].strip()}") from None
    for name in [*(name for name in missing if name != "_extra_state"), *unexpected]:
        raise ModelError(f"The weights at {folder} do not fit its model.json: {name} is in only one of the two.")
    return model, meta


def read_meta(folder: Path) -> dict[str, Any]:
    """What model.json says, without opening the weights. Raises ModelError."""
    if folder.suffix in PICKLES and folder.is_file():
        raise ModelError(
            f"{folder.name} is a pickle, which can run code when it is opened; export the model as model.safetensors with model.json."
        )
    if not folder.is_dir():
        raise ModelError(f"There is no model at {folder}.")
    path = folder / "model.json"
    if not path.is_file():
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
        if pickles:
            raise ModelError(
                f"{pickles[0]} is a pickle, which can run code when it is opened; export the model as model.safetensors with model.json."
            )
        raise ModelError(f"The model at {folder} is incomplete: model.json is missing.")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version, absent = meta["format"], [field for field in FIELDS if field not in meta]
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"The model at {folder} is damaged: model.json can't be read.") from None
    if version != FORMAT:
        raise ModelError(f"The model at {folder} has format {version!r:.20}; this version reads format {FORMAT}.")
    if absent:
        raise ModelError(f"The model at {folder} is damaged: model.json has no {absent[0]}.")
    return dict(meta)


def _has_records(model: nn.Module) -> bool:
    return type(model).get_extra_state is not nn.Module.get_extra_state


def _records(folder: Path, sha256: str) -> Any:
    try:
        text = (folder / "records.json").read_bytes()
        if hashlib.sha256(text).hexdigest() != sha256:
            raise ValueError
        return json.loads(text)
    except (OSError, ValueError):
        raise ModelError(f"The model at {folder} is damaged: records.json is missing, truncated or was changed.") from None


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_fit(folder: Path, meta: Mapping[str, Any], card: TaskCard, *, foreign: bool) -> None:
    if meta["kind"] not in card.kinds:
        raise ModelError(f"The model at {folder} is a {meta['kind']!s:.40}; the task {card.id} asks for a {' or '.join(card.kinds)}.")
    if meta["classes"] != card.classes and not foreign:
        raise ModelError(f"The model at {folder} has {meta['classes']!s:.40} classes; the task {card.id} has {card.classes}.")
    if tuple(meta["input_shape"]) != card.input_shape:
        raise ModelError(
            f"The model at {folder} takes inputs of shape {meta['input_shape']!s:.40}; those of the task {card.id} have {list(card.input_shape)}."
        )


def _with_tied(model: nn.Module, stored: dict[str, Any]) -> dict[str, Any]:
    """Adds to the stored tensors the second names of parameters that are tied, which the file holds under one name only."""
    names: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    tied = {name: stored[known] for group in names.values() for known in group if known in stored for name in group}
    return {**stored, **tied}
