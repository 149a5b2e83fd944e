"""Nested state as tensors plus JSON, and back. This is all that a checkpoint can hold: there is no pickle on the way.

`pack` takes None, booleans, numbers, text, tensors, NumPy arrays, and lists, tuples and dicts of these, and returns a JSON value in which
each tensor is a reference into a flat table. `unpack` gives the value back with the same types, so that a tuple of betas stays a tuple.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import StateError

JsonValue = Any
PLAIN = (bool, int, float, str)
REMEDIES = {
    "set": "keep a sorted list",
    "frozenset": "keep a sorted list",
    "deque": "keep a list or a tensor",
    "Random": "draw from a torch.Generator",
    "Generator": "draw from a torch.Generator",
    "RandomState": "draw from a torch.Generator",
}
OTHER_REMEDY = "keep its content in tensors, numbers, text, or lists and dicts of them, or give it state_dict and load_state_dict"


def packed_dict(items: Mapping[str, JsonValue]) -> JsonValue:
    """A packed dict of values that are packed already."""
    return {"dict": [[key, packed] for key, packed in items.items()]}


def packed_items(packed: JsonValue) -> dict[str, JsonValue]:
    """The values of a packed dict, packed as they are."""
    return dict(packed["dict"])


class StateSerializer:
    """Packs values and collects their tensors, copied to the CPU, under readable names. A tensor met twice is stored once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._seen: dict[tuple[Any, ...], tuple[str, Tensor]] = {}

    def pack(self, value: Any, path: str) -> JsonValue:
        """`value` as JSON. `path` names it, in the tensors' table and in the message of StateError, which refuses all other types."""
        if value is None or type(value) in PLAIN:
            return value
        match value:
            case Tensor():
                return {"tensor": [self._store(value, path), value.device.type != "cpu", value.requires_grad]}
            case np.ndarray():
                return {"array": self._store(self._as_tensor(value, path), path)}
            case np.generic():
                return self.pack(value.item(), path)
            case dict():
                return {"dict": [[self._key(key, path), self.pack(item, f"{path}.{key}")] for key, item in value.items()]}
            case list() | tuple() if type(value) in (list, tuple):
                items = [self.pack(item, f"{path}.{at}") for at, item in enumerate(value)]
                return items if isinstance(value, list) else {"tuple": items}
        kind = type(value).__name__
        raise StateError(f"{path} is a {kind}, which a checkpoint can't hold; {REMEDIES.get(kind, OTHER_REMEDY)}.")

    def _store(self, tensor: Tensor, path: str) -> str:
        if tensor.layout is not torch.strided:
            raise StateError(
                f"{path} is a tensor with layout {tensor.layout}, which a checkpoint can't hold; keep a dense one (to_dense())."
            )
        if tensor.grad_fn is not None:
            raise StateError(
                f"{path} still carries the graph that computed it, which a checkpoint can't hold; keep {path.rpartition('.')[2]}.detach()."
            )
        identity = (
            (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride(), str(tensor.device)) if tensor.numel() else (path,)
        )
        if identity not in self._seen:
            # The tensor is kept with its name: freed, its address could come back as that of another one.
            self._seen[identity] = (path, tensor)
            self.tensors[path] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        return self._seen[identity][0]

    @staticmethod
    def _as_tensor(array: np.ndarray, path: str) -> Tensor:
        try:
            return torch.from_numpy(np.ascontiguousarray(array))
        except TypeError:
            raise StateError(f"{path} is an array of {array.dtype}, which a checkpoint can't hold; keep numbers.") from None

    @staticmethod
    def _key(key: Any, path: str) -> str | int:
        if type(key) in (str, int):
            return key  # type: ignore[no-any-return]
        raise StateError(f"{path} has the key {key!r:.80}, which a checkpoint can't hold; use text or whole numbers as keys.")


def unpack(packed: JsonValue, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """What was packed, with its tensors from the table. Those that were not on the CPU are brought to `device`."""
    if isinstance(packed, list):
        return [unpack(item, tensors, device) for item in packed]
    if not isinstance(packed, dict):
        return packed
    [(kind, content)] = packed.items()
    match kind:
        case "tensor":
            name, on_device, requires_grad = content
            tensor = tensors[name].to(device) if on_device else tensors[name].clone()
            return tensor.requires_grad_(requires_grad)
        case "array":
            return tensors[content].clone().numpy()
        case "tuple":
            return tuple(unpack(item, tensors, device) for item in content)
        case "dict":
            return {key: unpack(item, tensors, device) for key, item in content}
    raise ValueError(f"unknown kind {kind!r}")


def put_back(current: Any, saved: Any) -> Any:
    """`saved` in the place of `current`: written into the same tensors, dicts and lists where the shapes agree, so that whoever else holds
    them (an optimizer, a closure) sees it too. Returns what the attribute should now be."""
    match current, saved:
        case Tensor(), Tensor():
            with torch.no_grad():
                if current.shape == saved.shape and current.dtype == saved.dtype:
                    current.copy_(saved)
                else:
                    current.data = saved.to(current.device)  # grown or shrunk since build(): same object, new storage
            return current
        case np.ndarray(), np.ndarray() if current.shape == saved.shape and current.dtype == saved.dtype:
            current[...] = saved
            return current
        case dict(), dict():
            restored = {key: put_back(current[key], value) if key in current else value for key, value in saved.items()}
            current.clear()
            current.update(restored)
            return current
        case list(), list():
            current[:] = [put_back(current[at], value) if at < len(current) else value for at, value in enumerate(saved)]
            return current
    return saved
