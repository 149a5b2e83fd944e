"""The audit trail over REST."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.views import APIView

from webapp.accounts.audit import trail
from webapp.accounts.audit.views import export
from webapp.accounts.models import AuditEntry
from webapp.accounts.permissions import person
from webapp.api.responses import reading

AUDIT = ["audit"]
FILTERS = [
    OpenApiParameter(name, OpenApiTypes.DATE if name in {"since", "until"} else str, description=str(field.help_text))
    for name, field in trail.TrailFilter.base_fields.items()
]
FORM = OpenApiParameter("form", enum=list(trail.FORMS), default="csv", description="How the file is written.")
FILE = {
    **reading(OpenApiResponse(OpenApiTypes.STR, "The file, newest line first.")),
    (200, "text/csv"): OpenApiTypes.STR,
    (200, "application/x-ndjson"): OpenApiTypes.STR,
}


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """Who did what. `project` is empty for a line about an account."""

    project = serializers.CharField(source="project_slug")
    detail = serializers.DictField()

    class Meta:
        model = AuditEntry
        fields = ("id", *trail.COLUMNS)


class _Trail(ListAPIView[AuditEntry]):
    serializer_class = AuditEntrySerializer

    def chosen(self, entries: QuerySet[AuditEntry]) -> QuerySet[AuditEntry]:
        return trail.TrailFilter(self.request.query_params).chosen(entries)


@extend_schema_view(
    get=extend_schema(tags=AUDIT, operation_id="audit_list", parameters=FILTERS, responses=reading(AuditEntrySerializer(many=True)))
)
class ProjectTrail(_Trail):
    """The project's audit trail, newest first. For its owners."""

    def get_queryset(self) -> QuerySet[AuditEntry]:
        if getattr(self, "swagger_fake_view", False):
            return AuditEntry.objects.none()
        return self.chosen(trail.of_project(person(self.request), self.kwargs["slug"]))


@extend_schema_view(
    get=extend_schema(tags=AUDIT, operation_id="site_audit_list", parameters=FILTERS, responses=reading(AuditEntrySerializer(many=True)))
)
class SiteTrail(_Trail):
    """The whole audit trail, sign-ins too. For administrators who have signed in by session."""

    def get_queryset(self) -> QuerySet[AuditEntry]:
        if getattr(self, "swagger_fake_view", False):
            return AuditEntry.objects.none()
        return self.chosen(trail.of_site(person(self.request)))


class ProjectTrailExport(APIView):
    @extend_schema(tags=AUDIT, operation_id="audit_export", parameters=[*FILTERS, FORM], responses=FILE)
    def get(self, request: Request, slug: str) -> HttpResponseBase:
        """The project's audit trail as one file. For its owners."""
        return export(request, trail.of_project(person(request), slug), f"audit-{slug}")


class SiteTrailExport(APIView):
    @extend_schema(tags=AUDIT, operation_id="site_audit_export", parameters=[*FILTERS, FORM], responses=FILE)
    def get(self, request: Request, **_: Any) -> HttpResponseBase:
        """The whole audit trail as one file. For administrators who have signed in by session."""
        return export(request, trail.of_site(person(request)), "audit")
