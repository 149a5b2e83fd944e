"""The dashboard and the alerts that an operator imports: each names metrics and labels that the web server really tells."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

import webapp.turns  # noqa: F401 - as the web server does
from tests.docker.reading import DOCKER
from tests.webapp.fleet.workers import worker
from webapp.monitoring.facts import KEPT

NAME = re.compile(r"\b(?:stillhouse|process)_[a-z_]+")
PICKED = re.compile(r"((?:stillhouse|process)_[a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r"(\w+)(=~?)\"([^\"]*)\"")
FROM_PROMETHEUS = {"job", "instance"}
ASKED_FOR = (
    "queue_runs",
    "queue_oldest",
    "runs",
    "attempts",
    "commit_lag",
    "device_free_memory",
    "workers",
    "artifact_bytes",
    "store_free",
)


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "grafana" / "stillhouse.json").read_text(encoding="utf-8"))
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DOCKER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]] + [rule["expr"] for rule in rules()]


@pytest.fixture
def told(db: None, client: Client) -> Iterator[dict[str, list[dict[str, str]]]]:
    """The labels of each sample that a web server tells, by the sample's name; it has answered a request, and a worker has told of its store."""
    worker(store_bytes=10, store_free_bytes=5)
    client.get("/readyz")
    KEPT.forget()
    samples: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample.labels)
    yield samples
    KEPT.forget()


@pytest.mark.servers
def test_each_expression_names_metrics_that_are_told(told: dict[str, list[dict[str, str]]]) -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)}

    assert len(named) > 15
    assert named - set(told) == set()


@pytest.mark.servers
def test_each_label_that_is_picked_has_a_value_that_there_is(told: dict[str, list[dict[str, str]]]) -> None:
    picked = [
        (name, *label) for expression in expressions() for name, labels in PICKED.findall(expression) for label in LABEL.findall(labels)
    ]

    for name, label, how, value in picked:
        if label not in FROM_PROMETHEUS:
            values = {labels[label] for labels in told[name]}
            wanted = set(value.split("|")) if how == "=~" else {value}
            assert wanted <= values, (name, label)


@pytest.mark.servers
def test_each_label_that_is_grouped_by_or_shown_is_one_of_the_metrics(told: dict[str, list[dict[str, str]]]) -> None:
    shown = [(target["expr"], target["legendFormat"]) for panel in dashboard()["panels"] for target in panel["targets"]]

    for expression, legend in shown:
        labels = {label for name in NAME.findall(expression) for label in told[name][0]}
        grouped = {label.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(",")}
        assert grouped | set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels | FROM_PROMETHEUS, expression


def test_every_metric_of_ours_that_matters_has_a_panel() -> None:
    shown = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])

    missing = [
        word
        for word in (*ASKED_FOR, "request_duration", "streams", "requests_waiting", "silent", "stalled")
        if f"stillhouse_{word}" not in shown
    ]

    assert missing == []


def test_the_dashboard_can_be_imported_anywhere() -> None:
    found = dashboard()

    panels = found["panels"]
    assert (found["title"], found["uid"]) == ("Stillhouse", "stillhouse")
    assert (
        len({panel["id"] for panel in panels}) == len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    )
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} == {"${source}"}
    assert {variable["name"] for variable in found["templating"]["list"]} == {"source", "job"}


def test_each_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    found = rules()

    assert len({rule["alert"] for rule in found}) == len(found) >= 6
    for rule in found:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_there_are_alerts_for_what_nobody_would_see() -> None:
    named = " ".join(rule["expr"] for rule in rules())

    for word in ("queue_oldest", 'standing="silent"', 'end="lost"', "store_free", "watchdog_looks", "commit_lag"):
        assert word in named
