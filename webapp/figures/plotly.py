"""Plotly's JavaScript, served from the plotly package that is installed: no copy in the repository, no CDN, no build step."""

import gzip
import re
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

VERSION = version("plotly")


@require_GET
def bundle(request: HttpRequest, plotly_version: str) -> HttpResponse:
    """The bundle under an address with its version, so that a browser may keep it forever. 1.4 MB, compressed once in a process."""
    if plotly_version != VERSION:
        raise Http404(f"This server has Plotly {VERSION}.")
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response = HttpResponse(_compressed(), content_type="text/javascript")
        response["Content-Encoding"] = "gzip"
    else:
        response = HttpResponse(_source(), content_type="text/javascript")
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["Vary"] = "Accept-Encoding"
    return response


@cache
def style_ids() -> tuple[str, ...]:
    """The ids of the style elements that Plotly makes for itself, unless the page has them: with a nonce, where it may not make any.

    Rules for charts go into `plotly.js-style-global`. The others hold the styles of maps, under names that are hashes of their text.
    """
    found = re.findall(r'getElementById\("([0-9a-f]{64})"\)', _source().decode())
    return ("plotly.js-style-global", *dict.fromkeys(found))


def _source() -> bytes:
    return files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()


@cache
def _compressed() -> bytes:
    return gzip.compress(_source(), compresslevel=6, mtime=0)
