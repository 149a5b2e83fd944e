"""The configuration: what is right for one person at home and wrong before strangers."""

from collections.abc import Iterator

from django.conf import settings

from webapp.operate.doctor.lines import Remark, graded

LOOPBACK = {"localhost", "127.0.0.1", "[::1]", "testserver"}


def exposure() -> Iterator[Remark]:
    """Whether others may reach the site, and whether it is fit for them."""
    public = sorted(set(settings.ALLOWED_HOSTS) - LOOPBACK)
    if "*" in public:
        yield Remark("problem", "hosts", "the web server answers to any name", "set STILLHOUSE_HOSTS to the names that people type")
    else:
        yield Remark("ok", "hosts", ", ".join(settings.ALLOWED_HOSTS))
    debug = "set STILLHOUSE_DEBUG=off: its error pages show settings and source to anybody" if settings.DEBUG and public else ""
    yield graded("debug", f"{'on' if settings.DEBUG else 'off'}{', for ' + public[0] if debug else ''}", problem=debug)
    known = settings.SECRET_KEY == settings.DEFAULT_SECRET
    secret = (
        "set STILLHOUSE_SECRET_KEY to a long random text: sessions can be forged with the one that is printed in the source"
        if known
        else ""
    )
    yield graded("secret", "the one of development" if known else "of your own", problem=secret if public else "")
    plain = "set STILLHOUSE_TLS=on behind a proxy that speaks TLS: passwords travel in the clear" if public and not settings.TLS else ""
    yield graded("TLS", "required" if settings.TLS else "not required", warning=plain)
