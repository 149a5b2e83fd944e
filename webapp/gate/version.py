"""Pages and endpoints while the database is of another version: each says so, where it would otherwise fail in ways of its own."""

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from webapp.gate import readiness
from webapp.gate.refusal import NotNow, response_to

WITHOUT_DATABASE = ("/readyz", "/static/", "/vendor/")


class RefuseWrongVersion(MiddlewareMixin):
    """503 with the sentence. Heals by itself when the database has been migrated."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.path_info.startswith(WITHOUT_DATABASE):
            return None
        sentence = readiness.wrong_version()
        return response_to(NotNow(sentence, status=503, seconds=10), request.path_info) if sentence else None
