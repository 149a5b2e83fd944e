"""Requests that hold text which the database can't store are refused before any view, form or query sees them."""

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin

from webapp.api.body import NO_TEXT


class RefuseUnstorable(MiddlewareMixin):
    """Responds with 400 where a query's parameter, the path or a cookie holds a NUL character: PostgreSQL has no text with it.

    It stands before the sessions, whose cookie would else be looked up as it is. Bodies are left to `JsonBody` and to forms, which name fields.
    """

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        field = next(_unstorable(request), None)
        if field is None:
            return None
        message = "must not hold NUL characters or halves of surrogate pairs."
        if request.path_info.startswith("/api/"):
            return JsonResponse({"errors": [{"field": field, "message": message}]}, status=400)
        # Without the request, so that nothing asks the database whose page this is.
        return HttpResponse(render_to_string("refused.html", {"sentence": f"{field} {message}"}), status=400)


def _unstorable(request: HttpRequest) -> Iterator[str]:
    """The names of what can't be stored, readable themselves."""
    if NO_TEXT.search(request.path_info):
        yield "The address"
    for name, values in request.GET.lists():
        if any(NO_TEXT.search(text) for text in (name, *values)):
            yield NO_TEXT.sub("�", name)
    for name, value in request.COOKIES.items():
        if NO_TEXT.search(value):
            yield f"The cookie {name}"
