"""Diagnosis, recall and the two tracks, against slow versions that read the whole log; and runs of a few episodes."""

import http.server
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import ModelError, SpecError
from engine.events import Evaluation, Log
from engine.methods.steve_evolving.distillation import EVIDENCE, Tracks, wilson_lower_bound
from engine.methods.steve_evolving.endpoint import Endpoint, question_of, still, worded
from engine.methods.steve_evolving.experience import (
    CAUSES,
    Memory,
    Query,
    Weights,
    cause_of,
    cell_of,
    condition_of,
    difference,
    flags_of,
    jaccard,
    score,
    signature_of,
)
from engine.methods.steve_evolving.pictures import halves, moving_mean, online_metrics, share, warnings
from engine.models.build import build
from engine.models.knowledge import KnowledgeBase, Records
from engine.run.runner import execute
from engine.spec.run_spec import RunSpec
from engine.worlds.crafting import State, predicates, recognize
from engine.worlds.planner import Situation

CONFIG = {"patience": 2, "follow": 0.85, "temporary_rules": False}


def parsed(**settings: Any) -> RunSpec:
    budget = {"steps": settings.pop("steps", 20)}
    seed = settings.pop("seed", 7)
    actions = settings.pop("actions", 120)
    return RunSpec.parse(
        {
            "method": "steve-evolving",
            "task": "crafting-world",
            "task_options": {"episodes": 5, "actions": actions},
            "settings": settings,
            "budget": budget,
            "seed": seed,
            "cadence": {"evaluate": 1000, "checkpoint": 1000},
            "threads": 1,
        }
    )


class Played:
    """A finished run with what it left."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.events: list[Any] = []
        self.outcome = execute(parsed(**settings), self.events.append, folder)
        assert self.outcome.status == "succeeded", self.outcome.reason
        self.documents = json.loads((folder / "tables/experiences.json").read_text())
        self.records = Records.model_validate(json.loads((folder / "student/records.json").read_text()))

    def metrics(self, split: str) -> dict[str, float | None]:
        return dict(next(e for e in self.events if isinstance(e, Evaluation) and e.final and e.split == split).metrics)

    def tables(self, split: str) -> dict[str, Any]:
        return dict(next(e for e in self.events if isinstance(e, Evaluation) and e.final and e.split == split).tables)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("played"))


def facts_of(seen: dict[str, Any]) -> frozenset[str]:
    return predicates(recognize(seen))


# Diagnosis


def test_a_difference_has_numbers_that_changed_and_pairs_of_what_differs():
    before = {"held.log": 2, "held.ore": 1, "biome": "plains", "lava": False, "z": 0}
    after = {"held.log": 2, "held.plank": 4, "biome": "volcanic", "lava": True, "z": 0}

    assert difference(before, after) == {"held.ore": -1, "held.plank": 4, "biome": ["plains", "volcanic"], "lava": [False, True]}
    assert difference({"name": "a"}, {}) == {"name": ["a", None]}


@pytest.mark.parametrize(
    ("states", "flags"),
    [
        ("aaaaa", (False, False)),  # fewer than the window
        ("aaaaaa", (True, False)),
        ("baaaaaa", (True, False)),
        ("ababab", (False, True)),
        ("abcdef", (False, False)),
        ("aabbcd", (False, False)),
        ("aaaaab", (False, True)),
    ],
)
def test_stagnation_is_a_window_of_one_state_and_a_loop_one_that_returns(states, flags):
    assert flags_of(states, window=6, repeats=3) == flags


def test_there_are_eleven_causes_and_a_missing_material_says_which():
    assert len(CAUSES) == len(set(CAUSES)) == 11
    assert cause_of({"cause": "missing_material", "item": "ore"}) == "missing_material:ore"
    assert cause_of({"cause": "death", "item": None}) == "death"


# Index and recall


def test_the_signature_does_not_depend_on_the_order_of_keys():
    condition = condition_of(subgoal="smelt", target="ingot", tool_tier=2, biome="plains", depth_band="surface")
    turned = dict(reversed(condition.items()))

    # sha1("biome=plains|depth_band=surface|subgoal=smelt|target=ingot|tool_tier=2")
    assert signature_of(condition) == signature_of(turned) == "92eb4ca631a6"
    assert signature_of({**condition, "tool_tier": 3}) != signature_of(condition)


def test_cells_are_rounded_downward():
    assert cell_of((-0.1, 15.9, 16.0)) == (-1, 0, 1)
    assert cell_of((-0.1, 5.0), size=2.5) == (-1, 2)


def document(
    number: int, *, signature: str = "s", cell: tuple[int, ...] = (0, 0, 0), tags: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    diagnosis = {"outcome": "success", "cause": None, "item": None, "changes": {}, **more.pop("diagnosis", {})}
    base = {"id": number, "time": number, "task": "ingot", "subgoal": "smelt", "actions": ["smelt"], "condition": {"subgoal": "smelt"}}
    return {**base, "signature": signature, "cell": list(cell), "tags": list(tags), "diagnosis": diagnosis, **more}


def test_the_score_adds_signature_tags_nearness_and_recency():
    query = Query("s", (3, 0, 0), frozenset({"a", "b"}), time=100)
    found = score(document(50, cell=(0, 4, 0), tags=("b", "c")), query, Weights())

    # 1 + 0.6·1/3 + 0.4·exp(−5/2) + 0.3·2^(−50/50) = 1 + 0.2 + 0.0328340 + 0.15
    assert found == pytest.approx(1.382834, abs=1e-6)
    assert jaccard((), frozenset()) == 0.0


def test_recall_takes_the_best_of_those_that_share_something_and_ties_go_to_the_earlier():
    memory = Memory()
    for number, (signature, tags) in enumerate([("x", ("far",)), ("q", ()), ("x", ("t",)), ("x", ("t",)), ("y", ())]):
        memory.add({**document(number, signature=signature, cell=(9, 9, number), tags=tags), "time": 0})
    query = Query("q", (0, 0, 0), frozenset({"t"}), time=10)

    found = [each["id"] for each in memory.recall(query, k=5, weights=Weights(place=0.0))]

    assert found == [1, 2, 3]  # fewer than five: the others share nothing, and are not candidates


def test_recall_falls_back_to_all_experiences_when_none_shares_anything():
    memory = Memory()
    for number in range(3):
        memory.add(document(number, signature="x", cell=(number, 0, 0)))

    found = memory.recall(Query("q", (7, 7, 7), frozenset(), time=3), k=2)

    assert [each["id"] for each in found] == [2, 1]  # nearest and latest first


def test_the_log_only_grows_and_in_order():
    memory = Memory()
    memory.add(document(0))

    with pytest.raises(AssertionError, match="append-only"):
        memory.add(document(0))


def test_what_a_checkpoint_holds_gives_the_same_log_index_and_summaries(played):
    memory = Memory()
    for each in played.documents:
        memory.add(each)
    again = Memory()

    again.load_state_dict(json.loads(json.dumps(memory.state_dict())))

    assert again.documents == memory.documents == played.documents
    assert again.index == memory.index and again.rows == memory.rows
    assert again.summaries() == memory.summaries() == played.records.summaries


def test_a_checkpoint_of_the_log_is_much_smaller_than_the_log(played):
    memory = Memory()
    for each in played.documents:
        memory.add(each)

    assert len(json.dumps(memory.state_dict())) < 0.2 * len(json.dumps(played.documents))


# The two tracks, against the whole log


def tracks_of(documents: list[dict[str, Any]]) -> Tracks:
    tracks = Tracks()
    for each in documents:
        tracks.take(each, before=facts_of(each["before"]), after=facts_of(each["after"]))
    return tracks


def distilled(documents: list[dict[str, Any]], n_min: int = 2, m_min: int = 2) -> tuple[Any, Any]:
    tracks = tracks_of(documents)
    return tracks.skills(n_min=n_min, episode=1, known={}), tracks.guardrails(m_min=m_min, episode=1, known={})


def test_skills_are_the_intersections_of_all_successes(played):
    skills, _ = distilled(played.documents)

    for skill in skills:
        tried = [each for each in played.documents if each["subgoal"] == skill.action]
        won = [each for each in tried if each["diagnosis"]["outcome"] == "success"]
        always = frozenset.intersection(*(facts_of(each["before"]) for each in won))
        fitting = [each for each in tried if always <= facts_of(each["before"])]
        assert skill.preconditions == sorted(always)
        assert skill.successes == len(won) >= 2
        assert skill.evidence == [each["id"] for each in won][:EVIDENCE]
        assert skill.confidence == pytest.approx(wilson_lower_bound(len(won), len(fitting)))
    assert {skill.action for skill in skills} >= {"chop", "move", "plank", "stick", "table"}


def test_a_skill_says_what_every_success_gained(played):
    skills = {skill.action: skill for skill in distilled(played.documents)[0]}

    assert skills["plank"].gains == {"plank": 4}
    assert skills["plank"].steps == ["plank"]
    assert skills["chop"].gains == {"log": 1}
    assert skills["move"].gains == {}


def test_guardrails_are_what_all_failures_had_and_no_success(played):
    _, rules = distilled(played.documents)

    for rule in rules:
        tried = [each for each in played.documents if each["subgoal"] == rule.action]
        failed = [each for each in tried if each["diagnosis"]["cause"] is not None and cause_of(each["diagnosis"]) == rule.cause]
        won = [facts_of(each["before"]) for each in tried if each["diagnosis"]["outcome"] == "success"]
        trigger = frozenset.intersection(*(facts_of(each["before"]) for each in failed)) - frozenset().union(*won)
        assert rule.trigger == sorted(trigger) and trigger
        assert rule.failures == len(failed) >= 2
    assert ("plank", "missing_material:log") in {(rule.action, rule.cause) for rule in rules}


def test_no_recorded_success_would_have_been_blocked_by_the_knowledge_of_the_end(played):
    base = KnowledgeBase(build("knowledge_base", CONFIG).habits)
    base.replace(played.records)
    won = [each for each in played.documents if each["diagnosis"]["outcome"] == "success"]

    assert len(base.active) >= 5
    assert [each["id"] for each in won if base.blocking(each["subgoal"], facts_of(each["before"])) is not None] == []


def test_distillation_does_not_depend_on_the_order_and_is_idempotent(played):
    shuffled = list(played.documents)
    random.Random(3).shuffle(shuffled)
    tracks = tracks_of(played.documents)
    skills, rules = tracks.skills(n_min=2, episode=1, known={}), tracks.guardrails(m_min=2, episode=1, known={})

    assert distilled(shuffled) == (skills, rules)
    assert tracks.skills(n_min=2, episode=9, known={each.action: each for each in skills}) == skills
    assert tracks.guardrails(m_min=2, episode=9, known={(each.action, each.cause): each for each in rules}) == rules


def test_preconditions_shrink_as_successes_are_added(played):
    tracks, before = Tracks(), {}
    for each in played.documents[:800]:
        tracks.take(each, before=facts_of(each["before"]), after=facts_of(each["after"]))
        now = {action: track.always for action, track in tracks.successes.items() if track.n}
        assert all(now[action] <= always for action, always in before.items())
        before = now
    assert before


def attempt(
    number: int, *facts: str, cause: str | None = None, task: str = "ingot", action: str = "smelt", length: int = 1
) -> tuple[Any, frozenset[str]]:
    outcome = "success" if cause is None else "fail"
    diagnosis = {"outcome": outcome, "cause": cause, "item": None, "changes": {}}
    return document(number, diagnosis=diagnosis, task=task, subgoal=action, actions=[action] * length), frozenset(facts)


def fed(*attempts: tuple[Any, frozenset[str]]) -> Tracks:
    tracks = Tracks()
    for each, facts in attempts:
        tracks.take(each, before=facts, after=facts)
    return tracks


def test_causes_are_not_mixed_and_one_observation_is_no_rule():
    tracks = fed(attempt(0, "a", "x", cause="death"), attempt(1, "b", "x", cause="timeout"), attempt(2, "b", "y", cause="timeout"))

    rules = tracks.guardrails(m_min=2, episode=1, known={})

    assert [(rule.cause, rule.trigger) for rule in rules] == [("timeout", ["b"])]


def test_failures_that_no_state_explains_make_no_rule():
    tracks = fed(attempt(0, "a", cause="death"), attempt(1, "a", cause="death"), attempt(2, "a", "b"))

    assert tracks.guardrails(m_min=2, episode=1, known={}) == []


def test_a_success_under_the_trigger_takes_its_atoms_and_retires_the_rule_when_none_is_left():
    failed = [attempt(0, "a", "b", cause="death"), attempt(1, "a", "b", cause="death")]
    born = fed(*failed).guardrails(m_min=2, episode=1, known={})
    known = {(rule.action, rule.cause): rule for rule in born}

    smaller = fed(*failed, attempt(2, "a")).guardrails(m_min=2, episode=2, known=known)
    gone = fed(*failed, attempt(2, "a"), attempt(3, "b")).guardrails(m_min=2, episode=3, known=known)

    assert (born[0].trigger, born[0].retired) == (["a", "b"], None)
    assert (smaller[0].trigger, smaller[0].retired, smaller[0].born) == (["b"], None, 1)
    assert (gone[0].trigger, gone[0].retired, gone[0].born) == ([], 3, 1)


def test_a_rule_that_arises_in_two_tasks_by_itself_belongs_to_the_task_level():
    one = [attempt(0, "a", cause="death"), attempt(1, "a", cause="death")]
    same = [attempt(2, "a", cause="death", task="furnace"), attempt(3, "a", cause="death", task="furnace")]
    single = same[:1]

    levels = [fed(*attempts).guardrails(m_min=2, episode=1, known={})[0].granularity for attempts in (one, one + single, one + same)]

    assert levels == ["subgoal", "subgoal", "task"]


def test_the_shortest_sequence_is_kept_and_ties_go_to_the_earliest():
    late = document(1, subgoal="smelt", actions=["chop", "smelt"])
    early = document(0, subgoal="smelt", actions=["move", "smelt"])
    long = document(2, subgoal="smelt", actions=["move", "move", "smelt"])

    [skill] = fed(*((each, frozenset()) for each in (late, long, early))).skills(n_min=2, episode=1, known={})

    assert skill.steps == ["move", "smelt"]


def test_the_wilson_bound_is_that_of_the_formula_and_stays_below_the_share():
    # p = 0.5, n = 4, z² = 3.8416: (0.5 + 0.4802 − 1.96·√(0.0625 + 0.060025)) / 1.9604 = 0.150036
    assert wilson_lower_bound(2, 4) == pytest.approx(0.150036, abs=1e-5)
    assert wilson_lower_bound(0, 0) == 0.0
    for n in (1, 2, 7, 100):
        bounds = [wilson_lower_bound(s, n) for s in range(n + 1)]
        assert bounds == sorted(bounds) and len(set(bounds)) == n + 1
        assert all(0 <= bound <= s / n for s, bound in enumerate(bounds))


# Runs


def test_each_attempt_is_an_experience_and_a_blocked_one_is_none(played):
    assert [each["id"] for each in played.documents] == list(range(len(played.documents)))
    taken = [each for each in played.documents if each["plan"]["blocked"] is not None]
    assert taken
    assert all(each["subgoal"] != each["plan"]["wanted"] for each in taken)


def test_knowledge_of_one_track_is_all_that_an_arm_has(tmp_path):
    no_rules = Played(tmp_path / "a", steps=5, distill_guardrails=False).records
    no_skills = Played(tmp_path / "b", steps=5, distill_skills=False).records

    assert no_rules.guardrails == [] and no_rules.skills
    assert no_skills.skills == [] and no_skills.guardrails


def test_without_memory_the_run_is_the_one_whose_stores_stay_empty(tmp_path):
    without = Played(tmp_path / "a", steps=10, distill_skills=False, distill_guardrails=False)
    never_enough = Played(tmp_path / "b", steps=10, n_min=10_000, m_min=10_000)

    assert without.documents == never_enough.documents
    assert without.metrics("test") == never_enough.metrics("test")


def test_nothing_is_trained(played):
    model = build("knowledge_base", CONFIG)
    before = torch.get_rng_state()

    model.replace(played.records)

    assert list(model.parameters()) == [] and list(model.buffers()) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_records_that_are_none_are_refused(played):
    model = build("knowledge_base", CONFIG)

    with pytest.raises(ModelError, match="These are no records of a knowledge base: guardrails"):
        model.set_extra_state({**played.records.model_dump(), "guardrails": [{"action": "smelt"}]})


def test_rules_of_one_observation_are_warned_of(tmp_path):
    lines = [[event.text for event in Played(tmp_path / f"{n}", steps=1, m_min=n).events if isinstance(event, Log)] for n in (1, 2)]

    assert lines == [["Rules will be born from one observation: n_min or m_min is 1."], []]


def test_the_habits_of_the_settings_are_those_of_the_exported_knowledge(tmp_path):
    Played(tmp_path, steps=2, patience=5, follow=0.5)

    meta = json.loads((tmp_path / "student/model.json").read_text())

    assert meta["config"] == {"patience": 5, "follow": 0.5, "temporary_rules": False}
    assert meta["parameters"] == 0


def test_a_knowledge_base_that_already_knows_something_is_refused(tmp_path):
    Played(tmp_path / "a", steps=3)
    ref = "run:00000000-0000-4000-8000-000000000001"
    spec = RunSpec.parse({**parsed(steps=3).model_dump(mode="json"), "student": ref})

    outcome = execute(spec, lambda event: None, tmp_path / "b", models={ref: tmp_path / "a/student"})

    assert outcome.reason == "student: steve-evolving begins with an empty knowledge base; choose the architecture knowledge."


def test_online_numbers_are_those_of_the_log(played):
    metrics = played.metrics("validation")
    last = [each for each in played.documents if each["episode"] >= 10]
    seen: set[tuple[str, str]] = set()
    repeated = 0
    for each in played.documents:
        if each["diagnosis"]["cause"] is not None:
            key = (each["signature"], cause_of(each["diagnosis"]))
            repeated += key in seen and each["episode"] >= 10
            seen.add(key)
    goals = {each["episode"] for each in played.documents if each["diagnosis"]["progress"] == 1.0}

    assert metrics["repeated_failures"] == pytest.approx(repeated / len(last))
    assert metrics["success_first_half"] == len([e for e in goals if e < 10]) / 10
    assert metrics["success_last_half"] == len([e for e in goals if e >= 10]) / 10


def test_the_views_show_the_last_episode_and_documents_behind_the_rules(played):
    tables = played.tables("validation")
    last = [each for each in played.documents if each["episode"] == 19]

    assert [row[4] for row in tables["replay"]["cells"]] == [each["subgoal"] for each in last]
    assert tables["replay"]["cells"][-1][-1].startswith("#")
    shown = {row[0] for row in tables["evidence"]["cells"]}
    named = {f"#{number}" for rule in played.records.guardrails for number in rule.evidence[:5]}
    assert named <= shown
    assert len(json.dumps(tables)) < 200_000


def test_a_moving_mean_begins_with_what_there_is():
    assert moving_mean([1.0, 0.0, 0.0, 1.0], window=2) == [1.0, 0.5, 0.0, 0.5]


def episode(**more: int) -> dict[str, Any]:
    return {"success": 0, "actions": 10, "failures": 0, "repeated": 0, "blocked": 0, "rightly": 0, "fallbacks": 0, "retired": 0, **more}


def test_shares_over_nothing_are_undefined_and_an_odd_middle_belongs_to_the_second_half():
    assert share([], "success") is None
    assert online_metrics([episode(success=1)])["guardrail_precision"] is None
    assert [len(half) for half in halves([episode()] * 5)] == [2, 3]


@pytest.mark.parametrize(
    ("first", "last", "warning"),
    [
        (episode(success=1), episode(), "Success fell from 1.00 in the first half to 0.00 in the last half of the episodes."),
        (
            episode(repeated=1),
            episode(repeated=2),
            "Actions that repeat an earlier failure did not become fewer: 0.100 of all in the first half, then 0.200.",
        ),
        (episode(fallbacks=1), episode(), "Guardrails forbid every action in more than 3% of the steps; raise m_min."),
        (
            episode(blocked=5, rightly=4),
            episode(),
            "More than 10% of the actions that guardrails blocked would have succeeded; raise m_min.",
        ),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(first, last, warning):
    assert warnings([first] * 10 + [last] * 10, total=20) == [warning]
    assert warnings([episode()] * 20, total=20) == []


# The endpoint


@contextmanager
def service(answers: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A local service of the chat protocol. `answers(question)` gives a message's content, or None for a status of 500."""
    heard: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            content = answers(body["messages"][1]["content"])
            self.send_response(500 if content is None else 200)
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

    assert outcome.reason == "settings.endpoint_url: the worker may ask llm.internal:8000 (STILLHOUSE_PLANNER_HOSTS); got 'elsewhere'."


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
    situation = Situation("ingot", State(lava=True), "smelt", 1, ("chop", "move"))

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
