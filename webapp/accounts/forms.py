"""Forms of a person's own pages, and of projects."""

from django import forms

from webapp import legible
from webapp.accounts import tokens
from webapp.accounts.models import Project, Scope


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(
        max_length=80, validators=[legible.validate_line], help_text="Where it will be used, for example “notebook on the lab machine”."
    )
    scope = forms.ChoiceField(choices=Scope.choices, initial=Scope.LAUNCH)
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=tokens.MAX_DAYS, initial=tokens.DEFAULT_DAYS)


class ProjectForm(forms.ModelForm[Project]):
    """A project, as an administrator names it."""

    name = forms.CharField(max_length=120, validators=[legible.validate_line])
    description = forms.CharField(required=False, max_length=4000, validators=[legible.validate_lines], widget=forms.Textarea)

    class Meta:
        model = Project
        fields = ("name", "slug", "description")
