"""Lists come in pages: `{"count", "next", "previous", "results"}`, `?page=` from 1 and `?page_size=` up to 200."""

from typing import Any

from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param


class Pages(PageNumberPagination):
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """With the limits, which the framework leaves out."""
        limits = {"page": {"minimum": 1}, "page_size": {"minimum": 1, "maximum": self.max_page_size}}
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        return [one | {"schema": one["schema"] | limits[one["name"]]} for one in parameters]


def envelope(request: Request, results: list[Any], *, total: int, page: int, size: int) -> dict[str, Any]:
    """The same shape for a page that a query has already cut."""
    url = request.build_absolute_uri()
    return {
        "count": total,
        "next": replace_query_param(url, "page", page + 1) if page * size < total else None,
        "previous": None if page == 1 else remove_query_param(url, "page") if page == 2 else replace_query_param(url, "page", page - 1),
        "results": results,
    }
