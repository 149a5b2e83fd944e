from django.contrib.admin.apps import AdminConfig


class GuardedAdminConfig(AdminConfig):
    """Django's administration, behind the site's own sign-in."""

    default_site = "webapp.accounts.admin_site.GuardedAdminSite"
