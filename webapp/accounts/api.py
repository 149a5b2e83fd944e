"""Who one is, one's projects and one's tokens, over REST."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from engine.errors import SpecError
from webapp import legible
from webapp.accounts import members as membership
from webapp.accounts import tokens
from webapp.accounts.models import ApiToken, Membership, Project, Role, Scope
from webapp.accounts.permissions import person, project_for, projects_of
from webapp.api.responses import reading, writing

ACCOUNT = ["account"]
TOKEN_ID = OpenApiParameter("token_id", {"type": "integer", "minimum": 0}, OpenApiParameter.PATH)


class ProjectSerializer(serializers.ModelSerializer[Project]):
    my_role = serializers.ChoiceField(choices=Role.choices, read_only=True, help_text="What you may do in it.")

    class Meta:
        model = Project
        fields = ("slug", "name", "description", "my_role", "keep_checkpoints", "created_at")


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token without its text, which nobody can show again."""

    project = serializers.CharField(source="project.slug")

    class Meta:
        model = ApiToken
        fields = ("id", "name", "prefix", "project", "scope", "created_at", "expires_at", "last_used_at", "revoked_at")
        read_only_fields = fields


class MadeTokenSerializer(TokenSerializer):
    """A new token with its text: this once."""

    token = serializers.CharField()

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "token")  # type: ignore[assignment]


class NewTokenSerializer(serializers.Serializer[Any]):
    project = serializers.SlugField(max_length=60, help_text="The project's slug. The token sees nothing of other projects.")
    name = serializers.CharField(max_length=80, validators=[legible.validate_line], help_text="What it is for.")
    scope = serializers.ChoiceField(choices=Scope.choices, default=Scope.READ)
    days = serializers.IntegerField(
        min_value=1, max_value=tokens.MAX_DAYS, default=tokens.DEFAULT_DAYS, help_text="It expires after so many days."
    )


class MeSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    scope = serializers.ChoiceField(
        choices=Scope.choices, allow_null=True, help_text="Of the token that the request came with; null for a session."
    )
    projects = ProjectSerializer(many=True)


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """Who is in a project, and in which role."""

    username = serializers.CharField(source="user.username")

    class Meta:
        model = Membership
        fields = ("username", "role", "created_at")
        read_only_fields = fields


class RoleSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)


class Me(APIView):
    @extend_schema(tags=ACCOUNT, operation_id="me", responses=reading(MeSerializer))
    def get(self, request: Request) -> Response:
        """Who the request comes from, and what they may do where."""
        user = person(request)
        projects = ProjectSerializer(projects_of(user), many=True).data
        return Response({"username": user.get_username(), "scope": user.token.scope if user.token else None, "projects": projects})


@extend_schema_view(get=extend_schema(tags=ACCOUNT, operation_id="projects_list", responses=reading(ProjectSerializer(many=True))))
class Projects(ListAPIView[Project]):
    """Your projects."""

    serializer_class = ProjectSerializer

    def get_queryset(self) -> QuerySet[Project]:
        return projects_of(self.request.user)


@extend_schema_view(get=extend_schema(tags=ACCOUNT, operation_id="tokens_list", responses=reading(TokenSerializer(many=True))))
class Tokens(ListAPIView[ApiToken]):
    """Your tokens."""

    serializer_class = TokenSerializer

    def get_queryset(self) -> QuerySet[ApiToken]:
        return tokens.tokens_of(person(self.request))

    @extend_schema(tags=ACCOUNT, operation_id="tokens_make", request=NewTokenSerializer, responses=writing(MadeTokenSerializer, code=201))
    def post(self, request: Request) -> Response:
        """Makes a token and returns its text, once. Needs a session, or a token with the scope admin."""
        asked = NewTokenSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        user, wanted = person(request), asked.validated_data
        project = project_for(user, wanted["project"])
        token, text = tokens.make(user, project, name=wanted["name"], scope=Scope(wanted["scope"]), days=wanted["days"])
        return Response({**TokenSerializer(token).data, "token": text}, status=status.HTTP_201_CREATED)


class OneToken(APIView):
    @extend_schema(tags=ACCOUNT, operation_id="tokens_revoke", parameters=[TOKEN_ID], responses=writing(TokenSerializer))
    def delete(self, request: Request, token_id: int) -> Response:
        """Revokes one of your tokens, at once."""
        return Response(TokenSerializer(tokens.revoke(person(request), token_id)).data)


@extend_schema_view(get=extend_schema(tags=ACCOUNT, operation_id="members_list", responses=reading(MemberSerializer(many=True))))
class Members(ListAPIView[Membership]):
    """Who is in a project, by name."""

    serializer_class = MemberSerializer

    def get_queryset(self) -> QuerySet[Membership]:
        project = project_for(self.request.user, self.kwargs["slug"])
        return Membership.objects.filter(project=project).select_related("user").order_by("user__username")


class OneMember(APIView):
    @extend_schema(tags=ACCOUNT, operation_id="members_put", request=RoleSerializer, responses=writing(MemberSerializer))
    def put(self, request: Request, slug: str, username: str) -> Response:
        """Makes a person a member in a role, or changes the role. Owners only."""
        project_for(request.user, slug, Role.OWNER)
        asked = RoleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with _refusals():
            member = membership.put(person(request), slug, username, asked.validated_data["role"])
        return Response(MemberSerializer(member).data)

    @extend_schema(tags=ACCOUNT, operation_id="members_remove", responses={**writing(None, code=204)})
    def delete(self, request: Request, slug: str, username: str) -> Response:
        """Ends a membership; the person's runs stay. Owners only, and a project keeps one."""
        with _refusals():
            membership.remove(person(request), slug, username)
        return Response(status=status.HTTP_204_NO_CONTENT)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except membership.MemberRefused as refusal:
        raise SpecError.at("", str(refusal)) from None
