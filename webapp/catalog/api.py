"""Methods and tasks over REST."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.api.responses import reading
from webapp.catalog import queries
from webapp.catalog.models import Method, Task

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
