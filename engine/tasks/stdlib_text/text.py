"""The documentation that Python's own help() shows, as one text and its three parts. No torch: the card counts its windows."""

from pydoc_data.topics import topics

TEXT = "\n".join(topics[name] for name in sorted(topics))
_TRAIN, _VALIDATION = len(TEXT) * 8 // 10, len(TEXT) * 9 // 10
PARTS = {"train": TEXT[:_TRAIN], "validation": TEXT[_TRAIN:_VALIDATION], "test": TEXT[_VALIDATION:]}
