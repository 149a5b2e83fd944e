"""Pages of a person's own account: password, second factor, where they are signed in."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordResetForm, SetPasswordForm
from django.contrib.auth.views import LoginView, LogoutView, PasswordResetConfirmView, PasswordResetView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts import audit
from webapp.accounts.audit import trail
from webapp.accounts.credentials import passwords, second_factor, sessions
from webapp.accounts.credentials import sign_in as steps
from webapp.accounts.credentials.passwords import ChangePasswordForm, ForgottenPasswordForm
from webapp.accounts.credentials.qr import drawn
from webapp.accounts.credentials.second_factor import CodeRefused
from webapp.accounts.models import User
from webapp.accounts.requests import SignedIn


class SignIn(LoginView):
    """Name and password. What follows, `steps.proceed` decides."""

    template_name = "accounts/sign_in.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        assert isinstance(user, User), "the form has found somebody"
        return steps.proceed(self.request, user, by="password", to=self.get_success_url())

    def get_context_data(self, **more: object) -> dict[str, object]:
        return super().get_context_data(provider=settings.OIDC, **more)


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view()


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """The second step, for a browser in which the first has been made."""
    if (user := steps.waiting(request)) is None:
        return redirect("sign-in")
    problem = ""
    if request.method == "POST":
        try:
            return steps.finish(request, user, request.POST.get("code", ""))
        except CodeRefused as refused:
            problem = str(refused)
    return render(request, "accounts/sign_in_code.html", {"problem": problem}, status=400 if problem else 200)


@require_GET
@login_required
def account(request: SignedIn) -> HttpResponse:
    context = {
        "has_password": request.user.has_usable_password(),
        "second_factor": second_factor.is_on(request.user),
        "codes_left": second_factor.recovery_codes_left(request.user),
        "sessions": [
            {"row": row, "browser": sessions.browser_name(row.browser), "is_this": row.session_id == request.session.session_key}
            for row in sessions.sessions_of(request.user)
        ],
        "entries": trail.of_person(request.user),
        "provider": settings.OIDC,
        "identities": list(request.user.identities.filter(issuer=settings.OIDC.issuer)),
    }
    return render(request, "accounts/account.html", context)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@login_required
def password(request: SignedIn) -> HttpResponse:
    """A new password for who knows the present one. Other sessions end with it."""
    if not request.user.has_usable_password():
        messages.error(request, "Your account has no password; an administrator can make a link with which you set one.")
        return redirect("account")
    form = ChangePasswordForm(request.user, request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        with transaction.atomic():
            form.save()
            update_session_auth_hash(request, request.user)
            ended, revoked = passwords.note_change(request.user, request, by="self", revoke_tokens=form.cleaned_data["revoke_tokens"])
        messages.success(request, f"Your password is changed. Other sessions that have ended: {ended}. Tokens revoked: {revoked}.")
        return redirect("account")
    return render(request, "accounts/password.html", {"form": form}, status=400 if form.errors else 200)


class ForgottenPassword(PasswordResetView):
    """Where links are sent by mail; elsewhere the page says whom to ask. It answers the same whether there is an account or not."""

    template_name = "accounts/password_forgotten.html"
    form_class = ForgottenPasswordForm
    extra_context = {"by_mail": passwords.by_mail}

    def form_valid(self, form: PasswordResetForm) -> HttpResponse:
        if passwords.by_mail() and isinstance(form, ForgottenPasswordForm):
            form.post(self.request)
        return redirect("password-sent")


class NewPassword(PasswordResetConfirmView):
    """What a link leads to. It is good once: it holds the old password's hash."""

    template_name = "accounts/password_new.html"
    success_url = reverse_lazy("sign-in")
    user: User

    def form_valid(self, form: "SetPasswordForm[User]") -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            if self.request.user == self.user:
                logout(self.request)  # leaves an empty session, where one that is deleted under the request would end in an error
            sessions.end_all(self.user)
            audit.of_account(self.user, "changed password", self.request, by="link")
        messages.success(self.request, "Your password is changed and all sessions have ended. Sign in with the new one. API tokens go on.")
        return response


@require_GET
def password_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/password_sent.html", {"by_mail": passwords.by_mail()})


@require_POST
@login_required
def session_end(request: SignedIn, session_id: int) -> HttpResponse:
    sessions.end(request.user, session_id, request)
    messages.success(request, "That session has ended.")
    return redirect("account")


@require_POST
@login_required
def sessions_end_others(request: SignedIn) -> HttpResponse:
    count = sessions.end_others(request.user, request)
    messages.success(request, f"Sessions that have ended: {count}.")
    return redirect("account")


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
@login_required
def factor_on(request: SignedIn) -> HttpResponse:
    """Shows the app's secret as a picture and as text, until a code shows that the app has learned it. Recovery codes follow, this once."""
    if second_factor.is_on(request.user):
        messages.error(request, "The second factor is on; turn it off to set up another app.")
        return redirect("account")
    problem = ""
    if request.method == "POST":
        try:
            return _codes(request, second_factor.turn_on(request.user, request.POST.get("code", ""), request))
        except CodeRefused as refused:
            problem = str(refused)
    address = second_factor.begin(request.user).config_url
    context = {"picture": drawn(address), "secret": second_factor.secret_in(address), "problem": problem}
    return render(request, "accounts/factor_on.html", context, status=400 if problem else 200)


@never_cache
@sensitive_post_parameters()
@require_POST
@login_required
def factor_codes(request: SignedIn) -> HttpResponse:
    """New recovery codes in place of the old, for who proves anew that it is they."""
    if not second_factor.is_on(request.user) or not _proved(request):
        return redirect("account")
    codes = second_factor.new_recovery_codes(request.user)
    audit.of_account(request.user, "made recovery codes", request)
    return _codes(request, codes)


@sensitive_post_parameters()
@require_POST
@login_required
def factor_off(request: SignedIn) -> HttpResponse:
    if _proved(request) and second_factor.turn_off(request.user):
        audit.of_account(request.user, "turned second factor off", request)
        messages.success(request, "The second factor is off. Your password alone signs you in.")
    return redirect("account")


def _proved(request: SignedIn) -> bool:
    """Whether the form holds the person's password, or a code where they have no password. Says so on the page where it does not."""
    if request.user.has_usable_password():
        is_right = passwords.is_known(request, request.user, request.POST.get("password", ""))
        problem = "This is not your password; nothing was changed."
    else:
        try:
            second_factor.check(request.user, request.POST.get("password", ""))
            is_right, problem = True, ""
        except CodeRefused as refused:
            is_right, problem = False, str(refused)
    if not is_right:
        messages.error(request, problem)
    return is_right


def _codes(request: HttpRequest, codes: list[str]) -> HttpResponse:
    return render(request, "accounts/recovery_codes.html", {"codes": codes, "back": reverse("account")})
