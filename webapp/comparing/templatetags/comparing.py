"""What pages of other rooms show of comparing."""

from typing import Any

from django import template

from webapp.accounts.models import Project
from webapp.comparing.comparison import LEAST_COMPARED, MOST_COMPARED

register = template.Library()


@register.inclusion_tag("comparing/_selection.html")
def selected_for_comparison(project: Project) -> dict[str, Any]:
    """The bar that says how many runs of a table are selected, and leads to their comparison."""
    return {"project": project, "least": LEAST_COMPARED, "most": MOST_COMPARED}
