"""The download of an artifact, over REST and from the pages."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import HttpResponse, HttpResponseBase, HttpResponseNotModified, StreamingHttpResponse
from django.utils.http import content_disposition_header, parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from webapp.api.responses import reading
from webapp.artifacts.downloads import content_of
from webapp.runs.access import artifact_for
from webapp.runs.api.record import RECORD


class Download(APIView):
    @extend_schema(
        tags=RECORD,
        operation_id="artifacts_download",
        responses={
            **reading(OpenApiResponse(OpenApiTypes.BINARY, "The file; a folder as a zip archive.")),
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, artifact_id: UUID) -> HttpResponseBase:
        """The artifact's content. The ETag is its SHA-256, so that a reader who has it need not fetch it again."""
        artifact = artifact_for(request.user, artifact_id)
        etag = f'"{artifact.sha256}"'
        if etag in parse_etags(request.headers.get("If-None-Match", "")):
            return HttpResponseNotModified(headers={"ETag": etag})
        content = content_of(artifact)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(content.size),
            "Content-Disposition": content_disposition_header(True, content.name) or "attachment",
            "ETag": etag,
        }
        if request.method == "HEAD":
            return HttpResponse(headers=headers)
        return StreamingHttpResponse(_in_thread(content.chunks), headers=headers)


async def _in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Reads a file away from the event loop. Under ASGI Django would first read all of an ordinary iterator into memory."""
    while (chunk := await sync_to_async(lambda: next(chunks, None), thread_sensitive=False)()) is not None:
        yield chunk
