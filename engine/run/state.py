"""A method's state: what of its attributes is saved, how, and what is refused.

attribute                                   saved as
nn.Module                                   its tensors, which parts are in eval mode, which parameters are frozen, pending gradients;
                                            of a DistributedDataParallel the module inside
a frozen teacher                            nothing: it is loaded from its own folder
torch.Generator                             its state
anything with (load_)state_dict             its state_dict (optimizers, schedulers, scalers, metrics)
tensors, numbers, text, lists, dicts        themselves
frozen dataclasses, pydantic models,        nothing: they are constants, made again by build()
functions, classes, devices, dtypes, paths
all else                                    refused by name, with what to use instead
"""

import dataclasses
import enum
import functools
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from engine.errors import CheckpointError, NonFiniteError
from engine.method import Method
from engine.run.serializer import JsonValue, StateSerializer, put_back, unpack

CONSTANT_TYPES = (
    BaseModel,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
    functools.partial,
    type,
    enum.Enum,
    torch.device,
    torch.dtype,
    torch.Size,
    PurePath,
)


def is_constant(value: Any) -> bool:
    """Whether a value is taken for one that no step changes, so that `build()` alone brings it back."""
    frozen = dataclasses.is_dataclass(value) and not isinstance(value, type) and value.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen or isinstance(value, CONSTANT_TYPES)


def seal(method: Method) -> None:
    """Ends `build()`: refuses state that can't be saved, and from here on new attributes and changed constants. Raises StateError."""
    method.seal(constants=frozenset(name for name, value in _attributes(method) if is_constant(value)))
    capture(method, StateSerializer())


def capture(method: Method, serializer: StateSerializer) -> JsonValue:
    """The method's state by attribute, as JSON with tensors in `serializer`. Raises StateError, naming what can't be saved."""
    kept = {name: _captured(value, f"{type(method).__name__}.{name}", serializer) for name, value in _changing(method)}
    for index, teacher in enumerate(_trained_teachers(method)):
        kept[f"teachers.{index}"] = _captured(teacher, f"teachers.{index}", serializer)
    for name, scaler in method.scalers.items():
        kept[f"scalers.{name}"] = _captured(scaler, f"scalers.{name}", serializer)
    return kept


def restore(method: Method, saved: Mapping[str, JsonValue], tensors: Mapping[str, Tensor]) -> None:
    """Puts a captured state back into a method that was built the same way. Raises CheckpointError when it does not fit."""
    owners: dict[str, Any] = dict(_changing(method))
    owners |= {f"teachers.{index}": teacher for index, teacher in enumerate(_trained_teachers(method))}
    owners |= {f"scalers.{name}": scaler for name, scaler in method.scalers.items()}
    differing = sorted(set(owners) ^ set(saved))
    if differing:
        raise CheckpointError(
            f"The checkpoint was written by another version of {method.card.id}: {differing[0]} is in only one of the two."
        )
    for name, current in owners.items():
        try:
            value = _restored(current, saved[name], tensors, method.device)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"The checkpoint does not fit {name} of {method.card.id}: {str(error).splitlines()[0]}") from error
        if value is not current:
            setattr(method, name, value)


def check_finite(method: Method, *, step: int) -> None:
    """Raises NonFiniteError, naming the weight, when a trained weight is NaN or infinite: such a state is not worth keeping.

    A loss can be finite while its gradient is not; the loss would then show it only at the step after the checkpoint.
    """
    for name, value in _attributes(method):
        if not isinstance(value, nn.Module):
            continue
        weights = {path: parameter.detach() for path, parameter in value.named_parameters() if parameter.numel()}
        # Read together: each reading makes a GPU finish what was queued before.
        largest = torch.stack([weight.abs().max().double() for weight in weights.values()]).tolist() if weights else []
        for path, size in zip(weights, largest, strict=True):
            if not math.isfinite(size):
                raise NonFiniteError(term=f"the weight {name}.{path}", step=step, value=size)


def modules_of(method: Method) -> list[nn.Module]:
    """Every module that the method holds, teachers included: what has a train and an eval mode."""
    held = [value for _, value in _attributes(method) if isinstance(value, nn.Module)]
    return list({id(module): module for module in [*held, *method.teachers]}.values())


def _attributes(method: Method) -> Iterator[tuple[str, Any]]:
    frozen = () if _trained_teachers(method) else method.teachers
    for name, value in vars(method).items():
        if name not in Method.OWN and not any(value is teacher for teacher in frozen):
            yield name, value


def _changing(method: Method) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in _attributes(method) if name not in method.constants)


def _trained_teachers(method: Method) -> tuple[nn.Module, ...]:
    needs = method.card.teachers
    return method.teachers if needs is not None and needs.access == "trained" else ()


def _captured(value: Any, path: str, serializer: StateSerializer) -> JsonValue:
    match value:
        case nn.Module():
            return {"module": serializer.pack(_module_state(_unwrapped(value)), path)}
        case torch.Generator():
            return {"generator": serializer.pack(value.get_state(), path)}
        case _ if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
            return {"state_dict": serializer.pack(value.state_dict(), path)}
    return {"value": serializer.pack(value, path)}


def _restored(current: Any, saved: JsonValue, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    [(kind, packed)] = saved.items()
    content = unpack(packed, tensors, device)
    match kind:
        case "module":
            _load_module(_unwrapped(current), content)
            current.training = _unwrapped(current).training
        case "generator":
            current.set_state(content)
        case "state_dict":
            current.load_state_dict(content)
        case "value":
            return put_back(current, content)
    return current


def _unwrapped(module: nn.Module) -> nn.Module:
    """What `Method.prepare` was given: a checkpoint has the same names whatever the number of devices."""
    return module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module


def _module_state(module: nn.Module) -> dict[str, Any]:
    """All that a step can change in a module: also buffers that its own state_dict leaves out, modes, frozen parameters, gradients."""
    state = dict(module.state_dict())
    parameters = dict(module.named_parameters())
    return {
        "state": state,
        "buffers": {name: buffer for name, buffer in module.named_buffers() if name not in state},
        "eval": [name for name, part in module.named_modules() if not part.training],
        "frozen": [name for name, parameter in parameters.items() if not parameter.requires_grad],
        "grads": {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None},
    }


def _load_module(module: nn.Module, content: dict[str, Any]) -> None:
    module.load_state_dict(content["state"])
    buffers = dict(module.named_buffers())
    for name, saved in content["buffers"].items():
        put_back(buffers[name], saved)
    for name, part in module.named_modules():
        part.training = name not in content["eval"]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in content["frozen"])
        parameter.grad = content["grads"].get(name)
