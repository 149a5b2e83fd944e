"""Trained models over REST."""

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from engine.errors import SpecError
from engine.spec.reference import run_reference
from webapp.accounts.permissions import project_for
from webapp.api.responses import reading
from webapp.catalog.api import CATALOG
from webapp.catalog.models import ModelRecord
from webapp.trained_models.rows import models_of


class ModelSerializer(serializers.ModelSerializer[ModelRecord]):
    """The student of a succeeded run. `reference` is how a spec names it."""

    run = serializers.UUIDField(source="run_id")
    task = serializers.CharField(source="task_id")
    meta = serializers.DictField()
    reference = serializers.SerializerMethodField()
    parents = serializers.SerializerMethodField(help_text="References of the models that taught it.")

    class Meta:
        model = ModelRecord
        fields = ("id", "reference", "run", "name", "task", "kind", "architecture", "parameters", "meta", "parents", "created_at")

    def get_reference(self, model: ModelRecord) -> str:
        return run_reference(model.run_id)

    def get_parents(self, model: ModelRecord) -> list[str]:
        return [run_reference(parent.run_id) for parent in model.parents.all()]


@extend_schema_view(
    get=extend_schema(
        tags=CATALOG,
        operation_id="models_list",
        responses=reading(ModelSerializer(many=True)),
        parameters=[
            OpenApiParameter("project", required=True, description="The project's slug."),
            OpenApiParameter("task", description="The task's id."),
        ],
    )
)
class Models(ListAPIView[ModelRecord]):
    """A project's trained models: what can teach."""

    serializer_class = ModelSerializer

    def get_queryset(self) -> QuerySet[ModelRecord]:
        slug = self.request.query_params.get("project")
        if not slug:
            raise SpecError.at("project", "is required: the project's slug.")
        return models_of(project_for(self.request.user, slug), task=self.request.query_params.get("task", ""))
