"""How often one person may do what costs something. Signing in is limited by axes."""

from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView


class _WritesOnly(UserRateThrottle):
    def allow_request(self, request: Request, view: APIView) -> bool:
        return request.method in ("GET", "HEAD", "OPTIONS") or super().allow_request(request, view)


class LaunchRate(_WritesOnly):
    scope = "launch"


class TokenRate(_WritesOnly):
    scope = "tokens"
