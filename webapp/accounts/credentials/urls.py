"""Pages of signing in and of a person's own account."""

from django.urls import path

from webapp.accounts.credentials import single_sign_on, views

urlpatterns = [
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-in/code/", views.sign_in_code, name="sign-in-code"),
    path("sign-in/provider/", single_sign_on.start, name="sign-in-provider"),
    path("sign-in/provider/back/", single_sign_on.back, name="sign-in-provider-back"),
    path("sign-out/", views.sign_out, name="sign-out"),
    path("password/", views.ForgottenPassword.as_view(), name="password-forgotten"),
    path("password/sent/", views.password_sent, name="password-sent"),
    path("password/<uidb64>/<token>/", views.NewPassword.as_view(), name="password-reset-confirm"),
    path("account/", views.account, name="account"),
    path("account/password/", views.password, name="password"),
    path("account/provider/", single_sign_on.connect, name="provider-connect"),
    path("account/provider/remove/", single_sign_on.disconnect, name="provider-disconnect"),
    path("account/second-factor/", views.factor_on, name="factor-on"),
    path("account/second-factor/codes/", views.factor_codes, name="factor-codes"),
    path("account/second-factor/off/", views.factor_off, name="factor-off"),
    path("account/sessions/<int:session_id>/end/", views.session_end, name="session-end"),
    path("account/sessions/end-others/", views.sessions_end_others, name="sessions-end-others"),
]
