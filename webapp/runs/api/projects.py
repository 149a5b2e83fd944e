"""A project over REST: its settings, its deletion and its restoration."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.accounts.api import ProjectSerializer
from webapp.accounts.models import Role
from webapp.accounts.permissions import person, project_for
from webapp.api.responses import reading, writing
from webapp.runs import projects

PROJECTS = ["projects"]


class ProjectChangesSerializer(serializers.Serializer[Any]):
    keep_checkpoints = serializers.BooleanField(help_text="Whether runs keep their checkpoints after they have succeeded.")


class DeleteProjectSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200, help_text="The project's name, typed again.")


class DeletedProjectSerializer(serializers.Serializer[Any]):
    slug = serializers.SlugField()
    name = serializers.CharField()
    deleted_at = serializers.DateTimeField(allow_null=True, help_text="In the trash since.")


class OneProject(APIView):
    """One project."""

    @extend_schema(tags=PROJECTS, operation_id="projects_get", responses=reading(ProjectSerializer))
    def get(self, request: Request, slug: str) -> Response:
        """The project, and what you may do in it."""
        return Response(ProjectSerializer(project_for(person(request), slug)).data)

    @extend_schema(tags=PROJECTS, operation_id="projects_edit", request=ProjectChangesSerializer, responses=writing(ProjectSerializer))
    def patch(self, request: Request, slug: str) -> Response:
        """Changes what holds for all of the project's runs. Needs an owner."""
        project_for(person(request), slug, Role.OWNER)
        asked = ProjectChangesSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(ProjectSerializer(projects.keep_checkpoints(person(request), slug, asked.validated_data["keep_checkpoints"])).data)


class DeleteProject(APIView):
    @extend_schema(
        tags=PROJECTS, operation_id="projects_delete", request=DeleteProjectSerializer, responses=writing(DeletedProjectSerializer)
    )
    def post(self, request: Request, slug: str) -> Response:
        """Moves the project to the trash: its runs are stopped, its tokens refused, and nobody sees it. Needs an owner, who types its name."""
        project_for(person(request), slug, Role.OWNER)
        asked = DeleteProjectSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(DeletedProjectSerializer(projects.trash(person(request), slug, asked.validated_data["name"])).data)


class RestoreProject(APIView):
    @extend_schema(tags=PROJECTS, operation_id="projects_restore", request=None, responses=writing(DeletedProjectSerializer))
    def post(self, request: Request, slug: str) -> Response:
        """Takes the project out of the trash. Needs a signed-in owner, or staff."""
        return Response(DeletedProjectSerializer(projects.restore(person(request), slug)).data)
