"""A language model behind a service, as planner and as writer of rules."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.errors import SpecError
from engine.events import Log
from engine.methods.steve_evolving.endpoint import Endpoint, question_of, still, worded
from engine.models.build import build
from engine.run.runner import execute
from engine.worlds.crafting import WorldState
from engine.worlds.planner import Situation
from tests.engine.methods.crafting_runs import CONFIG, Played, attempt, fed, parsed, tracks_of

# The endpoint


@contextmanager
def service(answers: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A local service of the chat protocol. `answers(question)` gives a message's content, below /moved the address to ask instead, or None for a
    status of 500."""
    heard: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            content = answers(body["messages"][1]["content"])
            moved = self.path.startswith("/moved")
            self.send_response(500 if content is None else 307 if moved else 200)
            if moved:
                self.send_header("Location", content)
            self.end_headers()
            if content is not None:
                self.wfile.write(json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_model_behind_an_endpoint_plans_and_is_told_state_and_knowledge(tmp_path, monkeypatch):
    with service(lambda question: '{"action": "chop", "reason": "Wood first."}') as (host, heard):
        monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", f"other:1, {host}")
        monkeypatch.setenv("STILLHOUSE_PLANNER_KEY", "a key")
        played = Played(tmp_path, steps=2, actions=15, planner="endpoint", endpoint_url=f"http://{host}/v1/", endpoint_model="small")

    assert {each["subgoal"] for each in played.documents} == {"chop"}
    assert len(heard) == len(played.documents) == 30
    assert {(each["path"], each["key"], each["model"]) for each in heard} == {("/v1/chat/completions", "Bearer a key", "small")}
    last = heard[-1]["messages"][1]["content"]
    assert last.startswith("Goal: hold 1 furnace.\nYou hold 14 log;")
    assert "- chop succeeds with" in last and "Earlier attempts:" in last


@pytest.mark.parametrize("answer", ["no JSON", '{"action": 3}', '{"action": "fly"}', '{"act": "chop"}', None])
def test_an_answer_that_can_not_be_used_leaves_the_choice_to_the_script(tmp_path, monkeypatch, answer):
    scripted = Played(tmp_path / "a", steps=1, actions=15)

    with service(lambda question: answer) as (host, _):
        monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", host)
        asked = Played(tmp_path / "b", steps=1, actions=15, planner="endpoint", endpoint_url=f"http://{host}/v1", endpoint_model="small")

    assert asked.documents == scripted.documents
    assert not [event for event in asked.events if isinstance(event, Log) and event.level == "error"]


def test_no_answer_in_time_is_no_answer():
    release = threading.Event()

    def late(question: str) -> str:
        release.wait(30)
        return '{"action": "chop"}'

    with service(late) as (host, heard):
        endpoint = Endpoint(f"http://{host}/v1", "small", 0.05)
        with endpoint.connect() as client:
            found = endpoint.ask(client, instructions="Plan.", question="What now?")
        release.set()

    assert found is None
    assert len(heard) <= 1


def test_a_host_that_the_operator_did_not_name_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", "llm.internal:8000")

    spec = parsed(steps=1, planner="endpoint", endpoint_url="http://elsewhere/v1", endpoint_model="small")
    outcome = execute(spec, lambda event: None, tmp_path)

    assert (
        outcome.reason
        == "settings.endpoint_url: the worker may ask llm.internal:8000 (STILLHOUSE_PLANNER_HOSTS); got 'http://elsewhere/v1'."
    )


def refusal(url: str) -> str:
    with pytest.raises(SpecError) as refused:
        Endpoint(url, "small", 1).check_origin()
    return str(refused.value)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("llm.internal", "https://llm.internal/v1"),
        ("llm.internal", "https://LLM.internal:443"),
        ("a, llm.internal:8443 ,b", "https://llm.internal:8443/v1/"),
        ("https://llm.internal", "https://llm.internal/v1"),
        ("http://llm.internal:8000", "http://llm.internal:8000/v1"),
        ("127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("localhost:11434", "https://localhost:11434/v1"),
        ("[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_the_origins_that_an_operator_names_may_be_asked(entry, url, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", entry)
    monkeypatch.delenv("STILLHOUSE_PLANNER_KEY", raising=False)

    Endpoint(url, "small", 1).check_origin()


@pytest.mark.parametrize(
    "url",
    [
        "http://llm.internal/v1",  # another scheme, which whoever is on the way can read
        "https://llm.internal:8443/v1",
        "http://llm.internal:443/v1",
        "https://llm.internal.evil.example/v1",
        "https://evil.example/llm.internal",
        "https://llm.internal@evil.example/v1",
        "https://me:secret@llm.internal/v1",
        "https://evil.example#@llm.internal/v1",
        "https://evil.example?@llm.internal/v1",
        "https://evil.example\\@llm.internal/v1",
        "https://llm.internal:99999/v1",
        "ftp://llm.internal/v1",
        "llm.internal/v1",
        "",
    ],
)
def test_no_other_origin_is_asked_whatever_the_address_looks_like(url, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", "llm.internal")

    sentence = refusal(url)

    assert sentence == f"settings.endpoint_url: the worker may ask llm.internal (STILLHOUSE_PLANNER_HOSTS); got {url!r}."


@pytest.mark.parametrize("entries", ["", " , ", "https://", "[", "http://[::1", "llm.internal:port"])
def test_an_entry_that_names_no_host_allows_none(entries, monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", entries)

    assert "the worker may ask" in refusal("https://llm.internal/v1")


def test_a_key_does_not_travel_in_the_clear_though_the_host_is_allowed(monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", "http://llm.internal:8000")
    monkeypatch.setenv("STILLHOUSE_PLANNER_KEY", "a key")

    sentence = refusal("http://llm.internal:8000/v1")

    assert sentence == (
        "settings.endpoint_url: the key in STILLHOUSE_PLANNER_KEY travels over https alone; got 'http://llm.internal:8000/v1'."
    )


def test_a_redirect_is_not_followed_and_a_proxy_does_not_read_along(monkeypatch):
    monkeypatch.setenv("STILLHOUSE_PLANNER_KEY", "a key")
    with (
        service(lambda question: "stolen") as (elsewhere, heard),
        service(lambda question: f"http://{elsewhere}/v1/chat/completions") as (host, _),
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://{elsewhere}")
        endpoint = Endpoint(f"http://{host}/moved", "small", 30)

        with endpoint.connect() as client:
            found = endpoint.ask(client, instructions="Plan.", question="What now?")

    assert (found, heard) == (None, [])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": 4, "repeats": 5}, "settings.repeats: must be at most the window's 4 states; got 5."),
        (
            {"planner": "endpoint"},
            "\n".join(f"settings.{name}: is required where planner or writer is endpoint." for name in ("endpoint_url", "endpoint_model")),
        ),
        (
            {"planner": "endpoint", "endpoint_url": "http://me:secret@host/v1", "endpoint_model": "m"},
            "settings.endpoint_url: must be an address such as https://host/v1, without user, query or fragment; got 'http://me:secret@host/v1'.",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, sentence):
    with pytest.raises(SpecError) as refused:
        parsed(**settings)

    assert str(refused.value) == sentence


def test_a_question_is_plain_text_without_what_is_not_known():
    situation = Situation("ingot", WorldState(lava=True), "smelt", 1, ("chop", "move"))

    assert question_of(situation, build("knowledge_base", CONFIG), []) == (
        "Goal: hold 1 ingot.\nYou hold nothing; lava is near.\nAllowed actions: chop, move.\n"
        "A simple planner proposes smelt, which failed 1 times in a row."
    )


def shortest(question: str) -> str:
    """A writer that keeps one condition of each rule."""
    rule = json.loads(question.splitlines()[0])
    key = "trigger" if "trigger" in rule else "preconditions"
    return json.dumps({**rule, key: rule[key][-1:], **({"remedy": "Wait."} if key == "trigger" else {})})


def test_a_model_behind_an_endpoint_words_the_rules_and_no_success_is_blocked(tmp_path, monkeypatch):
    with service(shortest) as (host, heard):
        monkeypatch.setenv("STILLHOUSE_PLANNER_HOSTS", host)
        played = Played(tmp_path, steps=5, writer="endpoint", endpoint_url=f"http://{host}/v1", endpoint_model="small")

    skills, active = played.records.skills, [rule for rule in played.records.guardrails if rule.retired is None]
    tracks = tracks_of(played.documents)
    assert len(heard) == len(skills) + len(played.records.guardrails)  # each was asked about once
    assert "Attempts:\n- " in heard[0]["messages"][1]["content"]
    assert {rule.remedy for rule in active} == {"Wait."}
    assert any(len(rule.trigger) == 1 for rule in active) and any(len(skill.preconditions) == 1 for skill in skills)
    assert all(set(skill.preconditions) <= tracks.successes[skill.action].always for skill in skills)
    assert all(
        rule.trigger and set(rule.trigger) <= tracks.trigger(rule.action, tracks.failures[rule.action, rule.cause].always)
        for rule in active
    )


@pytest.mark.parametrize(
    "change",
    [
        {"trigger": ["a", "c"]},
        {"trigger": []},
        {"action": "chop"},
        {"cause": "death"},
        {"remedy": "x" * 301},
        {"failures": 0},
        {"trigger": "a"},
    ],
)
def test_a_wording_that_is_another_rule_leaves_the_rule(change):
    [rule] = fed(attempt(0, "a", "b", cause="timeout"), attempt(1, "a", "b", cause="timeout")).guardrails(m_min=2, episode=1, known={})
    with service(lambda question: json.dumps({**rule.model_dump(), **change})) as (host, _):
        endpoint = Endpoint(f"http://{host}/v1", "small", 30)
        with endpoint.connect() as client:
            assert endpoint.rewrite(client, rule, []) == rule


def test_conditions_that_a_rule_has_lost_are_lost_to_its_wording_too():
    failed = [attempt(0, "a", "b", cause="timeout"), attempt(1, "a", "b", cause="timeout")]
    [rule] = fed(*failed).guardrails(m_min=2, episode=1, known={})
    draft = rule.model_copy(update={"trigger": ["a"], "remedy": "Wait."})
    [smaller] = fed(*failed, attempt(2, "b")).guardrails(m_min=2, episode=2, known={})
    [other] = fed(*failed, attempt(2, "a")).guardrails(m_min=2, episode=2, known={})

    assert worded(smaller, still(smaller, draft)).trigger == ["a"]
    assert worded(other, still(other, draft)).trigger == ["b"]  # nothing of the wording is left: the rule as it is
