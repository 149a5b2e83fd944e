"""What a run's page is asked: how wide its charts are, and what the dialog "Edit run" changes."""

from typing import Any

from django import forms

from engine.errors import Problem, SpecError
from webapp.api.parameters import WholeNumberField
from webapp.runs.models import PRIORITIES

LEAST_POINTS, USUAL_POINTS, MOST_POINTS = 400, 1500, 4000


class ChartWidth(forms.Form):
    """`?width=`: a chart's width in pixels."""

    width = WholeNumberField(least=0, most=99_999)

    @property
    def points(self) -> int:
        """How many points a chart of this width can show: two for each pixel, its minimum and its maximum. A usual number for no width."""
        width = self.cleaned_data["width"] if self.is_valid() else None
        return USUAL_POINTS if width is None else max(LEAST_POINTS, min(MOST_POINTS, 2 * width))


class EditForm(forms.Form):
    """The dialog's fields. Which values are allowed is said by `actions.edit`, but for the number."""

    name = forms.CharField(required=False)
    tags = forms.CharField(required=False)
    notes = forms.CharField(required=False, strip=False)
    priority = WholeNumberField(least=PRIORITIES[0], most=PRIORITIES[-1])
    keep_checkpoints = forms.BooleanField(required=False)

    def changes(self) -> dict[str, Any]:
        """The body of an edit as the API takes it; a priority that was left empty stays as it is. Raises SpecError."""
        if not self.is_valid():
            raise SpecError([Problem(name, str(message)) for name, messages in self.errors.items() for message in messages])
        asked = self.cleaned_data
        tags = [tag.strip() for tag in asked["tags"].split(",") if tag.strip()]
        changes = {"name": asked["name"], "notes": asked["notes"], "tags": tags, "keep_checkpoints": asked["keep_checkpoints"]}
        return changes if asked["priority"] is None else {**changes, "priority": asked["priority"]}
