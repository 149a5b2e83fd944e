"""A crafting world of fourteen actions with hidden requirements, in pure Python: long chains of prerequisites in microseconds.

An episode starts with an empty inventory and a random lava flag, and succeeds when the goal item is held. States are immutable; what is
drawn comes from the `random.Random` that is handed in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple


@dataclass(frozen=True)
class CraftingRecipe:
    """What an action asks for and does. `needs` are checked in their order and kept unless consumed; `tier` is the least pick held."""

    gives: str | None = None
    amount: int = 1
    needs: Mapping[str, int] = field(default_factory=dict)
    consumes: Mapping[str, int] = field(default_factory=dict)
    tier: int = 0
    fears_lava: bool = False


RECIPES: dict[str, CraftingRecipe] = {
    "chop": CraftingRecipe("log"),
    "plank": CraftingRecipe("plank", 4, needs={"log": 1}, consumes={"log": 1}),
    "stick": CraftingRecipe("stick", 4, needs={"plank": 2}, consumes={"plank": 2}),
    "table": CraftingRecipe("table", needs={"plank": 4}, consumes={"plank": 4}),
    "wood_pick": CraftingRecipe("wood_pick", needs={"plank": 3, "stick": 2, "table": 1}, consumes={"plank": 3, "stick": 2}),
    "mine_stone": CraftingRecipe("stone", tier=1),
    "mine_coal": CraftingRecipe("coal", tier=1),
    "stone_pick": CraftingRecipe("stone_pick", needs={"stone": 3, "stick": 2, "table": 1}, consumes={"stone": 3, "stick": 2}),
    "furnace": CraftingRecipe("furnace", needs={"stone": 8, "table": 1}, consumes={"stone": 8}),
    "mine_iron": CraftingRecipe("ore", tier=2, fears_lava=True),
    "smelt": CraftingRecipe("ingot", needs={"ore": 1, "coal": 1, "furnace": 1}, consumes={"ore": 1, "coal": 1}),
    "iron_pick": CraftingRecipe("iron_pick", needs={"ingot": 3, "stick": 2, "table": 1}, consumes={"ingot": 3, "stick": 2}),
    "mine_diamond": CraftingRecipe("diamond", tier=3, fears_lava=True),
    "move": CraftingRecipe(),
}
ACTIONS = tuple(RECIPES)
ITEMS = tuple(recipe.gives for recipe in RECIPES.values() if recipe.gives is not None)
MAKERS = {recipe.gives: action for action, recipe in RECIPES.items() if recipe.gives is not None}
"""The action that makes an item: all that the planner knows of the world."""
PICKS = {1: "wood_pick", 2: "stone_pick", 3: "iron_pick"}
"""The pick of each tier."""
GOALS = ("stone_pick", "furnace", "ingot", "iron_pick", "diamond")
"""What episodes ask for, in turn."""
COUNTS = (1, 2, 3, 4, 8)
"""The numbers that predicates compare a count with."""
RELOCATE = "move"
"""The action that changes where one is, and with it the flags of the place."""
LAVA_CHANCE = 0.5
HELD = "held."
"""What the counts of items are called by in an observation, before the item's name."""
CELL = 16

_POSITION = {item: at for at, item in enumerate(ITEMS)}
_TIERS = tuple((tier, _POSITION[pick]) for tier, pick in sorted(PICKS.items(), reverse=True))
_EMPTY = (0,) * len(ITEMS)


class WorldState(NamedTuple):
    """Counts of ITEMS in their order, whether lava is near, and how often one has moved."""

    counts: tuple[int, ...] = _EMPTY
    lava: bool = False
    moves: int = 0

    def count(self, item: str) -> int:
        """How many of an item are held."""
        return self.counts[_POSITION[item]]

    @property
    def inventory(self) -> dict[str, int]:
        """What is held, without what is not."""
        return {item: count for item, count in zip(ITEMS, self.counts, strict=True) if count}

    @property
    def tier(self) -> int:
        """The tier of the best pick held, 0 without one."""
        for tier, at in _TIERS:
            if self.counts[at]:
                return tier
        return 0

    @property
    def position(self) -> tuple[int, int, int]:
        """In blocks: each move leads one cell on, along one axis."""
        return CELL * self.moves, 0, 0

    @property
    def biome(self) -> str:
        return "volcanic" if self.lava else "plains"


class RawEvent(NamedTuple):
    """What came of an action: no cause for a success, else one of the diagnosis' causes, with the item that was missing."""

    cause: str | None = None
    item: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.cause is None


def observe(state: WorldState) -> dict[str, Any]:
    """What an agent sees, flat and as JSON: counts of what is held, position, place, tool and flags."""
    held = {f"{HELD}{item}": count for item, count in state.inventory.items()}
    x, y, z = state.position
    return {**held, "x": x, "y": y, "z": z, "biome": state.biome, "tool_tier": state.tier, "lava": state.lava}


def recognize(seen: Mapping[str, Any]) -> WorldState:
    """The state of an observation: the inverse of `observe`."""
    return WorldState(tuple(seen.get(f"{HELD}{item}", 0) for item in ITEMS), seen["lava"], seen["x"] // CELL)


def start(draw: Random) -> WorldState:
    """The state in which an episode begins."""
    return WorldState(lava=draw.random() < LAVA_CHANCE)


def outcome_of(state: WorldState, action: str) -> RawEvent:
    """What the action would come to, without doing it: tier, then lava, then materials in the recipe's order."""
    recipe = RECIPES[action]
    if state.tier < recipe.tier:
        return RawEvent("tool_insufficient")
    if recipe.fears_lava and state.lava:
        return RawEvent("hazard_damage")
    for item, count in recipe.needs.items():
        if state.count(item) < count:
            return RawEvent("missing_material", item)
    return RawEvent()


def step(state: WorldState, action: str, draw: Random) -> tuple[WorldState, RawEvent]:
    """Does one action. Lava empties the inventory; any other failure changes nothing. Raises KeyError for an unknown action."""
    recipe, event = RECIPES[action], outcome_of(state, action)
    if event.cause == "hazard_damage":
        return state._replace(counts=_EMPTY), event
    if not event.succeeded:
        return state, event
    if action == RELOCATE:
        return WorldState(state.counts, draw.random() < LAVA_CHANCE, state.moves + 1), event
    counts = list(state.counts)
    for item, count in recipe.consumes.items():
        counts[_POSITION[item]] -= count
    assert recipe.gives is not None
    counts[_POSITION[recipe.gives]] += recipe.amount
    return state._replace(counts=tuple(counts)), event


def predicates(state: WorldState) -> frozenset[str]:
    """Φ(state): for each item and k in COUNTS one of `item>=k` and `item<k`, for each tier one of `tier>=t` and `tier<t`, and one of
    `lava_near` and `no_lava`."""
    return _of_state(state.counts, state.lava)


@lru_cache(maxsize=65_536)
def _of_state(counts: tuple[int, ...], lava: bool) -> frozenset[str]:
    """Most counts are too large to matter, so few sets are made for many states."""
    return _predicates(tuple(min(count, COUNTS[-1]) for count in counts), WorldState(counts).tier, lava)


@lru_cache(maxsize=65_536)
def _predicates(counts: tuple[int, ...], tier: int, lava: bool) -> frozenset[str]:
    atoms = [f"{item}>={k}" if count >= k else f"{item}<{k}" for item, count in zip(ITEMS, counts, strict=True) for k in COUNTS]
    atoms += [f"tier>={t}" if tier >= t else f"tier<{t}" for t in PICKS]
    return frozenset([*atoms, "lava_near" if lava else "no_lava"])
