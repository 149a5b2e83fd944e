"""The responses that endpoints share, for their descriptions in the schema."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse

from webapp.api.errors import DetailSerializer, ErrorsSerializer

REFUSED = OpenApiResponse(ErrorsSerializer, "The request makes no sense: each refused field with a sentence.")
NOBODY = OpenApiResponse(DetailSerializer, "Not signed in, or the token is unknown, expired or revoked.")
FORBIDDEN = OpenApiResponse(DetailSerializer, "Your role in the project, or the scope of your token, is too low.")
MISSING = OpenApiResponse(DetailSerializer, "There is no such thing, or it is not yours to see.")
CONFLICT = OpenApiResponse(DetailSerializer, "Its state does not allow this, or the idempotency key was used with another body.")
TOO_LARGE = OpenApiResponse(DetailSerializer, "The body is over the limit.")
NOT_JSON = OpenApiResponse(DetailSerializer, "The body is not JSON.")
TOO_OFTEN = OpenApiResponse(DetailSerializer, "Too many of these in a short time; the header Retry-After says when again.")


def reading(success: Any) -> dict[Any, Any]:
    """The responses of a GET."""
    return {200: success, 400: REFUSED, 401: NOBODY, 403: FORBIDDEN, 404: MISSING}


def writing(success: Any, *, code: int = 200) -> dict[Any, Any]:
    """The responses of a request that changes something."""
    return {
        code: success,
        400: REFUSED,
        401: NOBODY,
        403: FORBIDDEN,
        404: MISSING,
        409: CONFLICT,
        413: TOO_LARGE,
        415: NOT_JSON,
        429: TOO_OFTEN,
    }
