"""Hashes that need the site's secret: who has the database alone can neither make nor check one."""

from django.conf import settings
from django.utils.crypto import salted_hmac


def digests(text: str, *, purpose: str) -> list[str]:
    """HMAC-SHA256 in hex digits, by the present secret first and then by those before it. A key of its own for each purpose."""
    content = text.encode("utf-8", "surrogatepass")
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [salted_hmac(f"stillhouse.{purpose}", content, secret=secret, algorithm="sha256").hexdigest() for secret in secrets]
