"""What a setting is called: the same on the launch form and on a run's page."""

import pytest

from engine.spec import catalog
from engine.spec.run_spec import RunSpec
from engine.spec.setting_words import label_of
from webapp.launching.fields import fields_of
from webapp.runs.page.configuration import config_of


def form_labels(method: str) -> list[str]:
    return [field.label for field in fields_of(catalog.methods()[method].settings, at="settings", typed=None, values={})]


@pytest.mark.parametrize(
    ("method", "name", "label"),
    [
        ("steve-evolving", "endpoint_url", "Endpoint URL"),
        ("x-ecomla", "freeze_non_mla", "Freeze non MLA"),
        ("gkd", "seq_kd", "Seq KD"),
        ("steve-evolving", "half_life", "Half life"),
    ],
)
def test_a_setting_is_called_by_its_title_or_else_by_its_name_in_words(method: str, name: str, label: str) -> None:
    assert label_of(name, catalog.methods()[method].settings.model_fields[name]) == label


@pytest.mark.parametrize("method", ["progressive-radiance", "steve-evolving", "teacher-guidance"])
def test_a_runs_page_calls_its_settings_as_the_form_does(method: str) -> None:
    spec = RunSpec.parse({"method": method, "task": catalog.methods()[method].task}).model_dump(mode="json")

    shown = [label for label, _ in config_of(spec)]

    filled = [name for name, value in spec["settings"].items() if value is not None and value != []]
    labels = dict(zip(catalog.methods()[method].settings.model_fields, form_labels(method), strict=True))
    assert [label for label in shown if label in labels.values()] == [labels[name] for name in labels if name in filled]


def test_settings_of_a_method_that_is_gone_are_called_by_their_names() -> None:
    spec = {"method": "gone", "task": "digits", "settings": {"kd_weight": 0.5}}

    assert ("Kd weight", "0.5") in config_of(spec)
