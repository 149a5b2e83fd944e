"""The secret that signs sessions, where nobody has named one: made once for a home, and kept there for its owner's eyes alone."""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from webapp import servers

FILE = "secret-key"


def kept_secret() -> str:
    """The home's secret. Processes that ask at the same time for the first time get the same one."""
    file = servers.make_home() / FILE
    with suppress(FileNotFoundError):
        return file.read_text().strip()
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f"{FILE}.") as fresh:  # made with mode 0600
        fresh.write(f"{secrets.token_urlsafe(50)}\n")
        fresh.flush()
        with suppress(FileExistsError):  # another process was faster
            os.link(fresh.name, file)
    return Path(file).read_text().strip()
