"""Python's documentation with a public and a private half: for training that may reveal nothing of any one piece of text."""

import dataclasses

from engine.tasks.stdlib_private.text import PARTS
from engine.tasks.stdlib_text.card import WINDOW
from engine.tasks.stdlib_text.card import card as whole

card = dataclasses.replace(
    whole,
    id="stdlib-private",
    version=1,
    title="Python's documentation, half of it private",
    summary="The same text and networks as stdlib-text. The first 45 % are public and train teachers and starting points; the next 45 % are "
    "private and are read only by methods with a privacy guarantee; then 5 % validation and 5 % test.",
    train_rows=len(PARTS["train"]) - WINDOW,
)
