"""Settings, all from the environment. docs/reference/environment.md lists the variables.

Unset, DATABASE_URL and REDIS_URL mean the embedded servers under STILLHOUSE_HOME.
"""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import django_stubs_ext
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp import servers

django_stubs_ext.monkeypatch()  # so that admin classes and querysets take type arguments at run time too

BASE_DIR = Path(__file__).resolve().parent.parent
LIMIT_NAMES = ("queued_runs", "running_runs", "steps", "seconds", "store_bytes")
DEFAULT_SECRET = "for-development-only-never-behind-a-public-address"  # noqa: S105


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).strip().lower() in {"1", "true", "yes", "on"}


def _list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def _limits(name: str, default: str) -> dict[str, int]:
    """`queued_runs=100, steps=1e6` as numbers."""
    limits = {}
    for pair in _list(name, default):
        key, _, number = (part.strip() for part in pair.partition("="))
        try:
            limits[key] = int(float(number))
        except (ValueError, OverflowError):
            limits[key] = 0
        if key not in LIMIT_NAMES or limits[key] < 1:
            raise ImproperlyConfigured(f"{name}: {pair!r} must be one of {', '.join(LIMIT_NAMES)}, an equals sign, and a number from 1 on.")
    return limits


HOME = servers.home()
STORE = Path(os.environ.get("STILLHOUSE_STORE", HOME / "store"))

DEBUG = _flag("STILLHOUSE_DEBUG", True)
SECRET_KEY = os.environ.get("STILLHOUSE_SECRET_KEY", DEFAULT_SECRET)
if not DEBUG and SECRET_KEY == DEFAULT_SECRET:
    raise ImproperlyConfigured("STILLHOUSE_DEBUG is off, so STILLHOUSE_SECRET_KEY must be set to a long random text of your own.")
if not DEBUG and len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(f"STILLHOUSE_SECRET_KEY must have at least 32 characters; got {len(SECRET_KEY)}.")

ALLOWED_HOSTS = _list("STILLHOUSE_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = _list("STILLHOUSE_ORIGINS")


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    options = dict(pair.split("=", 1) for pair in parts.query.split("&") if pair)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(options.pop("host", parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


DATABASE_URL = servers.addresses().database_url
REDIS_URL = servers.addresses().redis_url
CELERY_BROKER_URL = servers.celery_url(REDIS_URL)
DATABASES = {"default": _database(DATABASE_URL)}
# Each request opens a connection of its own: a pool was tried under uvicorn, saved some milliseconds at most, and can run dry.

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "axes",
    "django_filters",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "webapp.accounts",
    "webapp.catalog",
    "webapp.comparing",
    "webapp.runs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "webapp.unstorable.RefuseUnstorable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "sign-in"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "webapp" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Names with the content's hash, so that browsers keep files forever. With DEBUG on they are served from where they lie, uncollected.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

METRICS_TOKEN = os.environ.get("STILLHOUSE_METRICS_TOKEN", "")

# Security. Behind TLS (DEBUG off) cookies and pages never travel in the clear; the proxy in front says by a header which requests did not.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
TLS = _flag("STILLHOUSE_TLS", not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = TLS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _flag("STILLHOUSE_BEHIND_PROXY", False) else None

# Everything from here, and nothing inline without the request's nonce. Plotly gets its style elements from the page (figures/plotly.py).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        # Plotly gives the scale beside a heat map an empty style attribute: the hash is that of no text, and allows nothing else.
        "style-src-attr": ["'unsafe-hashes'", "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Sign-in: five failures of one name from one address lock that pair out for a quarter of an hour.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ACCESS_FAILURE_LOG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Throttles count in each process's own memory, so that Redis may go away; with n web processes the limit is up to n times as high.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["webapp.accounts.authentication.BearerToken", "rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["webapp.api.body.JsonBody"],
    "DEFAULT_RENDERER_CLASSES": ["webapp.api.rendering.StrictJson"],
    "DEFAULT_PAGINATION_CLASS": "webapp.api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_RATES": {
        "launch": os.environ.get("STILLHOUSE_LAUNCH_RATE", "120/minute"),
        "tokens": os.environ.get("STILLHOUSE_TOKEN_RATE", "30/hour"),
    },
    "EXCEPTION_HANDLER": "webapp.api.errors.response_to",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stillhouse",
    "DESCRIPTION": "Launch, watch and compare knowledge distillations. Sign in with a session, or with `Authorization: Bearer shp_…`.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": {
        "RunState": "webapp.runs.models.State",
        "Role": "webapp.accounts.models.Role",
        "Scope": "webapp.accounts.models.Scope",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": os.environ.get("STILLHOUSE_LOG_LEVEL", "INFO")},
    "loggers": {"django": {"handlers": [], "level": "INFO", "propagate": True}, "axes": {"level": "WARNING"}},
}

# What a project, and a person over all projects, may have at most where an administrator has set nothing else: `queued_runs=10000, store_bytes=500e9`.
PROJECT_LIMITS = _limits("STILLHOUSE_PROJECT_LIMITS", "queued_runs=10000")
PERSON_LIMITS = _limits("STILLHOUSE_PERSON_LIMITS", "queued_runs=5000")
# A run that was launched without a time limit stops after so many seconds of work. 0: never.
RUN_SECONDS = int(os.environ.get("STILLHOUSE_RUN_SECONDS", "604800"))

# How long a worker may be quiet before its run is marked silent, and before the run is given to another worker. Seconds.
SILENT_SECONDS = float(os.environ.get("STILLHOUSE_SILENT_SECONDS", "15"))
LEASE_SECONDS = float(os.environ.get("STILLHOUSE_LEASE_SECONDS", "60"))
HEARTBEAT_SECONDS = float(os.environ.get("STILLHOUSE_HEARTBEAT_SECONDS", "2"))
WATCHDOG_SECONDS = float(os.environ.get("STILLHOUSE_WATCHDOG_SECONDS", "5"))
