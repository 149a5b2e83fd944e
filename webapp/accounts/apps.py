from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "webapp.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listens for what Django and axes tell of sign-ins."""
        from webapp.accounts.audit import signals
        from webapp.accounts.credentials import sessions

        signals.listen()
        sessions.listen()
