"""Methods, tasks and trained models over REST."""

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from engine.errors import SpecError
from webapp.accounts.permissions import project_for
from webapp.api.responses import reading
from webapp.catalog import queries
from webapp.catalog.models import Method, ModelRecord, Task

CATALOG = ["catalog"]


class MethodSerializer(serializers.ModelSerializer[Method]):
    """A method; `card` has its settings as a JSON schema, its presets, what models it needs, and its baseline."""

    card = serializers.DictField()

    class Meta:
        model = Method
        fields = ("id", "version", "family", "title", "summary", "paper", "card", "available")


class MethodDetailSerializer(MethodSerializer):
    class Meta(MethodSerializer.Meta):
        fields = (*MethodSerializer.Meta.fields, "readme")  # type: ignore[assignment]


class TaskSerializer(serializers.ModelSerializer[Task]):
    """A task; `card` has its options as a JSON schema, its architectures, and the recipe of its default teacher."""

    card = serializers.DictField()

    class Meta:
        model = Task
        fields = ("id", "version", "kind", "title", "summary", "card", "available")


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
        return f"run:{model.run_id}"

    def get_parents(self, model: ModelRecord) -> list[str]:
        return [f"run:{parent.run_id}" for parent in model.parents.all()]


@extend_schema_view(get=extend_schema(tags=CATALOG, operation_id="methods_list", responses=reading(MethodSerializer(many=True))))
class Methods(ListAPIView[Method]):
    """The methods that can be launched."""

    serializer_class = MethodSerializer

    def get_queryset(self) -> QuerySet[Method]:
        return queries.methods()


class OneMethod(APIView):
    @extend_schema(tags=CATALOG, operation_id="methods_get", responses=reading(MethodDetailSerializer))
    def get(self, request: Request, method_id: str) -> Response:
        """A method with its page as Markdown."""
        return Response(MethodDetailSerializer(queries.method_for(method_id)).data)


@extend_schema_view(get=extend_schema(tags=CATALOG, operation_id="tasks_list", responses=reading(TaskSerializer(many=True))))
class Tasks(ListAPIView[Task]):
    """What students can be trained and judged on."""

    serializer_class = TaskSerializer

    def get_queryset(self) -> QuerySet[Task]:
        return queries.tasks()


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
        return queries.models_of(project_for(self.request.user, slug), task=self.request.query_params.get("task", ""))
