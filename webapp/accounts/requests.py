"""What a view gets: a request of someone who signed in, and htmx's details beside it."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from webapp.accounts.models import User


class SignedIn(HttpRequest):
    """For annotations only. `login_required` has made sure of the user, the middleware of `htmx`."""

    user: User
    htmx: HtmxDetails
