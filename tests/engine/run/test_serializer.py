"""A value out of a checkpoint is one of its own: no part of the table, of the type that it had, in the object that others hold."""

import json
from collections import OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from engine.errors import StateError
from engine.run.serializer import StateSerializer, packed_dict, packed_items, put_back, unpack

CPU = torch.device("cpu")
Point = namedtuple("Point", ["x", "y"])  # noqa: PYI024


class Level(IntEnum):
    LOW = 1


def through_a_file(value: Any) -> Any:
    serializer = StateSerializer()
    packed = json.loads(json.dumps(serializer.pack(value, "value")))
    return unpack(packed, load(save(serializer.tensors)), CPU)


def test_what_is_unpacked_twice_is_two_values_and_changes_nothing_of_the_table() -> None:
    serializer = StateSerializer()
    packed = serializer.pack({"tensor": torch.zeros(2), "array": np.zeros(2)}, "value")

    first, second = (unpack(packed, serializer.tensors, CPU) for _ in range(2))
    first["tensor"] += 1
    first["array"] += 1

    assert (second["tensor"].tolist(), second["array"].tolist()) == ([0, 0], [0, 0])
    assert [tensor.tolist() for tensor in serializer.tensors.values()] == [[0, 0], [0, 0]]


def test_what_is_packed_does_not_move_with_what_the_run_goes_on_to_do() -> None:
    serializer, tensor, array = StateSerializer(), torch.zeros(2), np.zeros(2)
    packed = serializer.pack([tensor, array], "value")

    tensor += 1
    array += 1

    assert [item.tolist() for item in unpack(packed, serializer.tensors, CPU)] == [[0, 0], [0, 0]]


def test_views_of_one_memory_come_back_each_with_its_own_shape_and_order() -> None:
    whole = torch.arange(6.0).view(2, 3)
    square = torch.arange(9.0).view(3, 3)
    parts = [square, square.T, whole, whole.T, whole[0], whole[:, 1], whole.view(6), whole.expand(2, 2, 3), whole[:0]]

    back = through_a_file(parts)

    assert [part.tolist() for part in back] == [part.tolist() for part in parts]
    assert [part.shape for part in back] == [part.shape for part in parts]


@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_tensor_that_is_trained_is_one_again(requires_grad: bool) -> None:
    assert through_a_file(torch.ones(2, requires_grad=requires_grad)).requires_grad is requires_grad


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({"1": "text", 1: "number"}, {"1": "text", 1: "number"}),
        (np.bool_(True), True),
        (np.int64(2**62), 2**62),
        ((), ()),
        ([(), [()]], [(), [()]]),
        (-0.0, -0.0),
        ("\ud7ff\x00\u202e", "\ud7ff\x00\u202e"),
    ],
)
def test_values_at_the_edges_come_back(value: Any, back: Any) -> None:
    found = through_a_file(value)

    assert repr(found) == repr(back)
    assert found is not True or value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Point(1, 2), "m.x is a Point, which a checkpoint can't hold; "),
        (Level.LOW, "m.x is a Level, which a checkpoint can't hold; "),
        ({True: 1}, "m.x has the key True, which a checkpoint can't hold; use text or whole numbers as keys."),
        ({1.5: 1}, "m.x has the key 1.5, which a checkpoint can't hold; use text or whole numbers as keys."),
        ({"a": {None: 1}}, "m.x.a has the key None, which a checkpoint can't hold; use text or whole numbers as keys."),
        (1j, "m.x is a complex, which a checkpoint can't hold; "),
        (b"raw", "m.x is a bytes, which a checkpoint can't hold; "),
        (np.array([None]), "m.x is an array of object, which a checkpoint can't hold; keep numbers."),
        (frozenset({1}), "m.x is a frozenset, which a checkpoint can't hold; keep a sorted list."),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(StateError) as refusal:
        StateSerializer().pack(value, "m.x")

    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("current", "saved", "same"),
    [
        (np.zeros(2), np.ones(2), True),
        (np.zeros(2, dtype=np.int64), np.array([0.5, 1.5]), False),  # written into it, the halves would be gone
        (np.zeros(3), np.ones(2), False),
        (np.zeros(2), None, False),
        (torch.zeros(2), torch.ones(2), True),
        (torch.zeros(2, dtype=torch.int64), torch.tensor([0.5, 1.5]), True),
        (torch.zeros(0), torch.ones(3), True),
        (torch.zeros(2), None, False),
        (None, torch.ones(2), False),
    ],
)
def test_the_object_that_others_hold_is_kept_where_the_value_fits_into_it_unchanged(current: Any, saved: Any, same: bool) -> None:
    restored = put_back(current, saved)

    assert (restored is current) is same
    assert restored is saved or restored.tolist() == saved.tolist()


def test_a_list_that_grew_and_one_that_shrank_are_the_same_lists_with_their_first_parts() -> None:
    tensor, other = torch.zeros(1), torch.zeros(1)
    first, second = [5, other], [tensor, [1], [2]]

    grown = put_back(first, [6, torch.ones(1), "new"])
    shrunk = put_back(second, [torch.ones(1)])

    assert grown is first and first == [6, other, "new"] and first[1] is other and other.tolist() == [1]
    assert shrunk is second and second == [tensor] and tensor.tolist() == [1]


def test_packed_dicts_are_opened_without_unpacking_what_they_hold() -> None:
    serializer = StateSerializer()
    packed = serializer.pack({"a": torch.ones(1), 3: (1,)}, "value")

    items = packed_items(packed)

    assert items == {"a": {"tensor": ["value.a", False, False]}, 3: {"tuple": [1]}}
    assert packed_dict(items) == packed


def test_a_kind_that_this_version_does_not_know_is_no_value() -> None:
    with pytest.raises(ValueError, match=r"^unknown kind 'object'$"):
        unpack({"object": 1}, {}, CPU)
