"""The error for what can't be done as things stand."""


class Conflict(Exception):
    """The request is right, but not now: its object is in another state. The message is a sentence for the person who asked; the API responds
    with status 409."""
