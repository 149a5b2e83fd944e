"""Forms of a person's own pages."""

from django import forms

from webapp.accounts import tokens
from webapp.accounts.models import Scope


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(max_length=80, help_text="Where it will be used, for example “notebook on the lab machine”.")
    scope = forms.ChoiceField(choices=Scope.choices, initial=Scope.LAUNCH)
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=tokens.MAX_DAYS, initial=tokens.DEFAULT_DAYS)
