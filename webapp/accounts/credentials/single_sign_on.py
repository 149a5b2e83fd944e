"""Signing in with the identity provider, and tying one's identity there to one's account here. Every page is missing where there is no provider."""

import time

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from webapp.accounts import audit
from webapp.accounts.credentials import identities, passwords, provider
from webapp.accounts.credentials import sign_in as steps
from webapp.accounts.credentials.identities import IdentityRefused
from webapp.accounts.credentials.provider import ProviderFailed
from webapp.accounts.models import User
from webapp.accounts.requests import SignedIn

CONNECTING = "connects_identity"
CONNECT_SECONDS = 600


@never_cache
@require_GET
def start(request: HttpRequest) -> HttpResponse:
    """Leads to the provider."""
    _need_a_provider()
    try:
        return provider.away(request)
    except ProviderFailed as failed:
        return _refused(request, str(failed), status=502)


@never_cache
@require_GET
def back(request: HttpRequest) -> HttpResponse:
    """Where the provider leads to: signs in; or connects, for somebody who asked for it a moment ago, with the password."""
    _need_a_provider()
    is_connecting = _is_connecting(request)
    try:
        claims = provider.claims_of(request)
        if is_connecting and isinstance(request.user, User):
            identities.connect(request.user, claims)
            audit.of_account(request.user, "connected identity", request, provider=settings.OIDC.title)
            messages.success(request, f"You can sign in with {settings.OIDC.title} from now on.")
            return redirect("account")
        return steps.proceed(request, identities.account_of(claims), by=settings.OIDC.title, to=settings.LOGIN_REDIRECT_URL)
    except ProviderFailed as failed:
        return _refused(request, str(failed), status=502)
    except IdentityRefused as refused:
        return _refused(request, str(refused), status=403)


@never_cache
@sensitive_post_parameters("password")
@require_POST
@login_required
def connect(request: SignedIn) -> HttpResponse:
    """Asks for the password, so that nobody ties an identity to an account that was left open. A page with a link follows, and not a redirect:
    the content policy lets no form lead to another site."""
    _need_a_provider()
    if not passwords.is_known(request, request.user, request.POST.get("password", "")):
        messages.error(request, "This is not your password; nothing was changed.")
        return redirect("account")
    request.session[CONNECTING] = time.time()
    return render(request, "accounts/provider_connect.html", {"provider": settings.OIDC})


@require_POST
@login_required
def disconnect(request: SignedIn) -> HttpResponse:
    _need_a_provider()
    if not request.user.has_usable_password():
        messages.error(request, "Your account has no password; set one first, by a link from an administrator.")
    elif request.user.identities.filter(issuer=settings.OIDC.issuer).delete()[0]:
        audit.of_account(request.user, "disconnected identity", request, provider=settings.OIDC.title)
        messages.success(request, f"{settings.OIDC.title} no longer leads to this account.")
    return redirect("account")


def _is_connecting(request: HttpRequest) -> bool:
    asked = request.session.pop(CONNECTING, None)
    return isinstance(asked, float) and 0 <= time.time() - asked <= CONNECT_SECONDS


def _refused(request: HttpRequest, sentence: str, *, status: int) -> HttpResponse:
    return render(request, "accounts/sign_in_refused.html", {"sentence": sentence}, status=status)


def _need_a_provider() -> None:
    if not settings.OIDC.issuer:
        raise Http404("Single sign-on is off.")
