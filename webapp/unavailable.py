"""Requests that can't be served because the database can't."""

import logging

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from webapp.gate.refusal import NotNow, response_to

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
SENTENCE = "The database does not answer at the moment; ask again in a few seconds."


class DatabaseAway(MiddlewareMixin):
    """Answers where the database can't: it is away, or every connection of this process is in use for longer than one waits."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, OperationalError | InterfaceError):
            return None
        logger.warning("%s %s could not be served: %s", request.method, request.path, str(error).strip())
        return response_to(NotNow(SENTENCE, status=503, seconds=RETRY_SECONDS), request.path_info)
