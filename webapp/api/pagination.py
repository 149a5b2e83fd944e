"""Lists come in pages: `{"count", "next", "previous", "results"}`, `?page=` from 1 and `?page_size=` up to 200."""

from typing import Any

from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from engine.errors import SpecError


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


def envelope(request: Request, results: list[Any], *, total: int, page: int, size: int) -> dict[str, Any]:
    """The same shape for a page that a query has already cut."""
    url = request.build_absolute_uri()
    return {
        "count": total,
        "next": replace_query_param(url, "page", page + 1) if page * size < total else None,
        "previous": None if page == 1 else remove_query_param(url, "page") if page == 2 else replace_query_param(url, "page", page - 1),
        "results": results,
    }


def whole_number(request: Request, name: str, default: int | None = None, *, least: int = 0, most: int = 2**63 - 1) -> int | None:
    """A whole number among the query's parameters. Raises SpecError when it is none, or out of range."""
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    number = int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() and len(text) <= 20 else None
    if number is None or not least <= number <= most:
        raise SpecError.at(name, f"must be a whole number from {least} to {most}; got {text!r:.80}.")
    return number
