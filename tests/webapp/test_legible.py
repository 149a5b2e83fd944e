"""Names, tags and notes hold nothing that is not seen, nor what turns the text beside it; by page and API with the same sentence."""

from typing import Any

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tests.runs import queued_run
from tests.webapp.conftest import SPEC, signed_in
from tests.webapp.pages import as_, text_of
from webapp.accounts.models import ApiToken, Project, User
from webapp.legible import line, lines
from webapp.runs.models import Run

TURNED = "a\u202egnp.exe"
SENTENCE = "must hold neither control characters nor marks that turn the direction of text; got {!r}."
SHOWN = SENTENCE.format(TURNED).replace("'", "&#x27;")
UNSEEN = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)]
TURNING = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("mark", [*UNSEEN, *TURNING], ids=ascii)
def test_a_line_holds_no_mark_that_is_not_seen_or_turns_text(mark: str) -> None:
    with pytest.raises(ValueError, match=r"^must hold neither control characters nor marks that turn the direction of text; got 'a"):
        line(f"a{mark}b")


@pytest.mark.parametrize("mark", [*UNSEEN, *TURNING], ids=ascii)
def test_notes_may_have_line_breaks_and_tabs_and_nothing_else_of_it(mark: str) -> None:
    if mark in "\t\n\r":
        assert lines(f"a{mark}b") == f"a{mark}b"
        return
    with pytest.raises(ValueError, match=r"turn the direction of text; got 'a"):
        lines(f"a{mark}b")


def test_of_long_notes_the_sentence_shows_the_place() -> None:
    with pytest.raises(ValueError, match=r"got 'nnnnnnnnnnnnnnnnnnnn\\x07mmmmmmmmmmmmmmmmmmmm'$"):
        lines("n" * 5000 + "\x07" + "m" * 5000)


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_what_can_be_seen_is_taken_in_any_script(text: str) -> None:
    assert (line(text), lines(text)) == (text, text)


def test_joined_signs_and_words_written_from_the_right_are_taken() -> None:
    for text in ("👩‍🔬 lab", "می‌خواهم", "שלום", "naïve café"):
        assert line(text) == text


@pytest.mark.servers
@pytest.mark.django_db
class TestWhereTextComesIn:
    @pytest.mark.parametrize(
        ("changes", "field"), [({"name": TURNED}, "name"), ({"tags": ["ok", TURNED]}, "tags.1"), ({"notes": TURNED}, "notes")]
    )
    def test_a_run_is_neither_launched_cloned_nor_edited_with_it(
        self, changes: dict[str, Any], field: str, project: Project, operator: User
    ) -> None:
        run, api = queued_run(project), signed_in(operator)
        address = reverse("api:run", args=[run.pk])

        answers = [
            api.post(reverse("api:runs", args=[project.slug]), SPEC | changes),
            api.post(f"{address}clone/", changes),
            api.patch(address, changes),
        ]

        refusal = {"errors": [{"field": field, "message": SENTENCE.format(TURNED)}]}
        assert [(answer.status_code, answer.json()) for answer in answers] == [(400, refusal)] * 3
        assert Run.objects.count() == 1

    @pytest.mark.parametrize("field", ["name", "tags", "notes"])
    def test_the_pages_refuse_it_with_the_same_sentence(self, field: str, project: Project, operator: User) -> None:
        run, browser = queued_run(project, name="before"), as_(operator)

        launched = browser.post(reverse("launch", args=[project.slug]), {"method": "supervised", "task": "digits", field: TURNED})
        edited = browser.post(reverse("run-edit", args=[run.pk]), {"name": "after", field: TURNED}, follow=True)

        assert launched.status_code == 400 and SHOWN in text_of(launched)
        assert SHOWN in text_of(edited) and Run.objects.get().name == "before"

    def test_a_token_has_no_such_name(self, project: Project, viewer: User) -> None:
        by_api = signed_in(viewer).post(reverse("api:tokens"), {"project": project.slug, "name": TURNED})
        by_page = as_(viewer).post(reverse("tokens", args=[project.slug]), {"name": TURNED, "scope": "read", "days": 1})

        assert (by_api.status_code, by_api.json()) == (400, {"errors": [{"field": "name", "message": SENTENCE.format(TURNED)}]})
        assert by_page.status_code == 400 and SHOWN in text_of(by_page)
        assert not ApiToken.objects.exists()

    def test_an_administrator_gives_no_such_name_to_a_project_or_a_person(self, db: None) -> None:
        browser = as_(User.objects.create_superuser("ada"))
        inline = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}

        project = browser.post(reverse("admin:accounts_project_add"), {"name": TURNED, "slug": "x", "description": TURNED, **inline})
        person = browser.post(
            reverse("admin:accounts_user_add"), {"username": TURNED, "password1": "long enough 7", "password2": "long enough 7"}
        )

        assert text_of(project).count(SHOWN) == 2
        assert person.status_code == 200 and "Enter a valid username" in text_of(person)
        assert (Project.objects.count(), User.objects.count()) == (0, 1)
