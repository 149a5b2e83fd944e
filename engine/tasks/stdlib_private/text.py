"""Python's documentation, cut so that one part can be taken for private. No torch: the card counts its windows."""

from engine.tasks.stdlib_text.text import TEXT

_PUBLIC, _PRIVATE, _VALIDATION = len(TEXT) * 45 // 100, len(TEXT) * 90 // 100, len(TEXT) * 95 // 100
PARTS = {
    "train": TEXT[:_PUBLIC],
    "private": TEXT[_PUBLIC:_PRIVATE],
    "validation": TEXT[_PRIVATE:_VALIDATION],
    "test": TEXT[_VALIDATION:],
}
