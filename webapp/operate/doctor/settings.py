"""The configuration: what is right for one person at home and wrong before strangers."""

import os
from collections.abc import Iterator

from django.conf import settings

from webapp.operate.doctor.lines import Remark, graded
from webapp.secret_key import FILE

LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "testserver"}


def exposure() -> Iterator[Remark]:
    """Whether others may reach the site, and whether it is fit for them."""
    public = sorted(set(settings.ALLOWED_HOSTS) - LOOPBACK)
    if "*" in public:
        yield Remark("problem", "hosts", "the web server answers to any name", "set STILLHOUSE_HOSTS to the names that people type")
    else:
        yield Remark("ok", "hosts", ", ".join(settings.ALLOWED_HOSTS))
    development = settings.DEVELOPMENT
    fix = "set STILLHOUSE_DEBUG=off and STILLHOUSE_SECRET_KEY: it is for one person at home" if development and public else ""
    yield graded("development", f"{'on' if development else 'off'}{', for ' + public[0] if fix else ''}", problem=fix)
    yield Remark(
        "ok", "secret", "of your own" if os.environ.get("STILLHOUSE_SECRET_KEY") else f"made for this home, in {settings.HOME / FILE}"
    )
    plain = "set STILLHOUSE_TLS=on behind a proxy that speaks TLS: passwords travel in the clear" if public and not settings.TLS else ""
    yield graded("TLS", "required" if settings.TLS else "not required", warning=plain)
