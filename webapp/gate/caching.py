"""What browsers and proxies may keep: nothing, unless a view says that its response is the same for everybody."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from webapp.gate.inline import Inline

PRIVATE = "private, no-store"
DEPENDS_ON = ("Cookie", "Authorization", "HX-Request")
"""Who asks, and whether htmx does: it gets a part of some pages."""


class NoStore(Inline):
    """Errors, downloads and streams too. A view's own `Cache-Control: public` stands."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        kept = response.headers.get("Cache-Control", "")
        if "public" not in kept:
            response.headers["Cache-Control"] = kept if "no-store" in kept else PRIVATE
            patch_vary_headers(response, DEPENDS_ON)
        return response
