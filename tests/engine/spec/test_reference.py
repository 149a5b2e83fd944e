"""References to models: what people type, what specs hold, and what pages show."""

from uuid import UUID

import pytest

from engine.spec.reference import described_reference, reference_text, run_named_by, run_reference
from engine.spec.run_spec import ModelRef

RUN = UUID(int=7)


@pytest.mark.parametrize("text", ["mlp-16", f"run:{RUN}", "hf:org/name"])
def test_a_reference_is_shown_as_it_is_typed(text: str) -> None:
    ref = ModelRef.model_validate(text)

    assert (str(ref), reference_text(ref.model_dump(mode="json")), described_reference(ref.model_dump(mode="json"))) == (text, text, text)


def test_what_was_changed_of_an_architecture_stands_behind_it() -> None:
    model = {"source": "builtin", "name": "mlp-16", "config": {"hidden": 32}, "init_seed": 5}

    assert described_reference(model) == "mlp-16 (hidden=32, init seed 5)"
    assert reference_text(model) == "mlp-16"


def test_a_reference_without_a_source_is_an_architecture() -> None:
    assert reference_text({"name": "mlp-16"}) == "mlp-16"


@pytest.mark.parametrize(
    ("text", "run"), [(run_reference(RUN), str(RUN)), (f"run:{RUN} (init seed 1)", str(RUN)), ("mlp-16", None), ("hf:run:x", None)]
)
def test_a_reference_names_a_run_or_none(text: str, run: str | None) -> None:
    assert run_named_by(text) == run
