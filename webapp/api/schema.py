"""The OpenAPI schema and its page. The schema is the same for everybody and may be read without signing in, so it is made once a process: that
takes a second of work, and to serve it takes its bytes."""

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request

from webapp.api.rendering import WhateverIsAccepted

KEPT = "public, max-age=300"
"""Longer only with the ETag: an upgrade changes both."""

_making = threading.Lock()


@dataclass(frozen=True)
class Document:
    """The schema in one format."""

    content: bytes
    etag: str


class Schema(SpectacularAPIView):
    """Without authentication: a token or a cookie would be looked up for nothing."""

    authentication_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """The OpenAPI description of this API, as YAML or JSON by the header Accept."""
        renderer = request.accepted_renderer
        document = _document(renderer.media_type)
        if document.etag in parse_etags(request.headers.get("If-None-Match", "")):
            response: HttpResponse = HttpResponseNotModified()
        else:
            response = HttpResponse(document.content, content_type=f"{renderer.media_type}; charset=utf-8")
            response["Content-Disposition"] = f'inline; filename="Stillhouse.{renderer.format}"'
        response["ETag"], response["Cache-Control"] = document.etag, KEPT
        patch_vary_headers(response, ["Accept"])
        return response


class SchemaPage(SpectacularSwaggerSplitView):
    """Swagger's page, which holds nothing of a person, and its script, which holds a form's token and is not kept."""

    authentication_classes = ()
    content_negotiation_class = WhateverIsAccepted
    http_method_names = ["get", "head"]
    url_name = "api:schema"

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if "script" not in request.GET:
            response["Cache-Control"] = KEPT
        return super().finalize_response(request, response, *args, **kwargs)


def _document(media_type: str) -> Document:
    with _making:  # who comes while it is made waits, and makes no second one
        return _made(media_type)


@lru_cache(maxsize=8)
def _made(media_type: str) -> Document:
    renderer = next(one for one in Schema.renderer_classes if one.media_type == media_type)
    rendered = renderer().render(_schema(), renderer_context={})
    content = rendered.encode() if isinstance(rendered, str) else rendered
    return Document(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@lru_cache(maxsize=1)
def _schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
