"""Which Stillhouse this is. Asked of pyproject.toml, which lies beside the code in a checkout and in the images; the package need not be installed."""

import tomllib

from django.conf import settings


def version() -> str:
    return str(tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
