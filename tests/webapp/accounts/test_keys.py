"""The site's secret, and how it is exchanged for another: nobody is signed out, and no token is lost."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.webapp.conftest import token_of, with_token
from tests.webapp.test_settings import python
from webapp.accounts import keyed, tokens
from webapp.accounts.models import ApiToken, Project, User

OLD, NEW = "the-old-secret-of-more-than-32-characters", "the-new-secret-of-more-than-32-characters"


@pytest.fixture
def rotated(settings: Any) -> Any:
    """Call it to exchange the secret; the old one is kept for a while, or not."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = OLD, []

    def rotate(*, keep: bool = True) -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = NEW, [OLD] if keep else []

    return rotate


def test_a_hash_depends_on_the_secret_and_on_the_purpose_and_the_newest_comes_first(rotated: Any) -> None:
    (before,) = keyed.digests("text", purpose="a")
    rotated()

    newest, former = keyed.digests("text", purpose="a")

    assert former == before != newest
    assert len({newest, former, *keyed.digests("text", purpose="b"), hashlib.sha256(b"text").hexdigest()}) == 5


@pytest.mark.servers
@pytest.mark.django_db
class TestRotation:
    def test_a_session_signed_with_the_old_secret_goes_on_and_is_signed_anew(self, viewer: User, rotated: Any, settings: Any) -> None:
        client = Client()
        client.force_login(viewer)
        rotated()

        during = client.get("/account/").status_code
        settings.SECRET_KEY_FALLBACKS = []
        after = client.get("/account/").status_code

        assert (during, after) == (200, 200)

    def test_without_the_old_secret_everybody_is_signed_out(self, viewer: User, rotated: Any) -> None:
        client = Client()
        client.force_login(viewer)

        rotated(keep=False)

        assert client.get("/account/").status_code == 302

    def test_a_token_is_hashed_anew_at_its_use(self, viewer: User, project: Project, rotated: Any, settings: Any) -> None:
        text = token_of(viewer, project)
        before = ApiToken.objects.get().digest
        rotated()

        during = with_token(text).get("/api/v1/me/").status_code
        settings.SECRET_KEY_FALLBACKS = []
        after = with_token(text).get("/api/v1/me/").status_code

        assert (during, after) == (200, 200)
        assert ApiToken.objects.get().digest != before

    def test_a_token_that_was_not_used_meanwhile_is_lost_with_the_old_secret(self, viewer: User, project: Project, rotated: Any) -> None:
        text = token_of(viewer, project)

        rotated(keep=False)

        assert with_token(text).get("/api/v1/me/").status_code == 401

    def test_a_token_from_before_hashes_were_keyed_works_and_is_keyed_at_its_use(self, viewer: User, project: Project) -> None:
        text = token_of(viewer, project)
        unkeyed = hashlib.sha256(text.encode()).hexdigest()
        ApiToken.objects.update(digest=unkeyed, last_used_at=timezone.now() - timedelta(seconds=5))

        first, second = (with_token(text).get("/api/v1/me/").status_code for _ in range(2))

        assert (first, second) == (200, 200)
        assert ApiToken.objects.get().digest == keyed.digests(text, purpose=tokens.PURPOSE)[0] != unkeyed

    def test_a_revoked_token_stays_revoked_under_every_secret(self, viewer: User, project: Project, rotated: Any) -> None:
        text = token_of(viewer, project)
        tokens.revoke(viewer, ApiToken.objects.get().pk)
        rotated()

        assert with_token(text).get("/api/v1/me/").status_code == 401
        assert ApiToken.objects.get().digest not in keyed.digests(text, purpose=tokens.PURPOSE)[:1]

    def test_looking_a_token_up_is_one_statement_by_the_index(self, viewer: User, project: Project, rotated: Any) -> None:
        text = token_of(viewer, project)
        rotated()
        tokens.find(text)

        with CaptureQueriesContext(connection) as statements:
            tokens.find(text)

        assert len(statements) == 1
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("EXPLAIN " + statements[0]["sql"])
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "accounts_apitoken_digest" in plan


@pytest.mark.parametrize("fallbacks", ["short", "k" * 50, f"{'o' * 40},short"])
def test_fallbacks_that_make_no_sense_keep_the_site_from_starting(fallbacks: str) -> None:
    started = python(
        "import webapp.settings", STILLHOUSE_DEBUG="off", STILLHOUSE_SECRET_KEY="k" * 50, STILLHOUSE_SECRET_KEY_FALLBACKS=fallbacks
    )

    assert started.returncode != 0
    assert started.stderr.strip().endswith(
        "STILLHOUSE_SECRET_KEY_FALLBACKS must be earlier secrets of at least 32 characters, separated by commas, without the present one."
    )


def test_fallbacks_are_read_in_the_order_in_which_they_are_named() -> None:
    started = python(
        "import webapp.settings as s; print(s.SECRET_KEY_FALLBACKS)",
        STILLHOUSE_SECRET_KEY=NEW,
        STILLHOUSE_SECRET_KEY_FALLBACKS=f"{OLD}, {'o' * 40}",
    )

    assert started.stdout.strip() == repr([OLD, "o" * 40]), started.stderr
