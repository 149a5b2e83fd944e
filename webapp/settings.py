"""Settings, all from the environment. docs/reference/environment.md lists the variables.

Unset, DATABASE_URL and REDIS_URL mean the embedded servers under STILLHOUSE_HOME.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import django_stubs_ext
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp import logs, outside, servers
from webapp.gate.address import trusted_proxies
from webapp.gate.rates import Rate
from webapp.secret_key import kept_secret

django_stubs_ext.monkeypatch()  # so that admin classes and querysets take type arguments at run time too

BASE_DIR = Path(__file__).resolve().parent.parent
QUOTA_NAMES = ("queued_runs", "running_runs", "steps", "seconds", "store_bytes")


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).strip().lower() in {"1", "true", "yes", "on"}


def _list(name: str, default: str = "") -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def _number(name: str, default: str, *, least: int = 0) -> int:
    text = os.environ.get(name, default).strip()
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ImproperlyConfigured(f"{name} must be a whole number, at least {least}; got {text!r:.80}.")
    return int(text)


def _quota(name: str, default: str) -> dict[str, int]:
    """`queued_runs=100, steps=1e6` as numbers."""
    limits = {}
    for pair in _list(name, default):
        key, _, number = (part.strip() for part in pair.partition("="))
        try:
            limits[key] = int(float(number))
        except (ValueError, OverflowError):
            limits[key] = 0
        if key not in QUOTA_NAMES or limits[key] < 1:
            raise ImproperlyConfigured(f"{name}: {pair!r} must be one of {', '.join(QUOTA_NAMES)}, an equals sign, and a number from 1 on.")
    return limits


def _one_of(name: str, default: str, known: Sequence[str]) -> str:
    """In whichever case it is written."""
    text = os.environ.get(name, default).strip()
    for each in known:
        if each.lower() == text.lower():
            return each
    raise ImproperlyConfigured(f"{name} must be one of {', '.join(known)}; got {text!r:.80}.")


HOME = servers.home()
STORE = Path(os.environ.get("STILLHOUSE_STORE", HOME / "store"))

# Django's own DEBUG stays off for everybody: it would show settings, tracebacks and addresses to whoever provokes an error.
DEBUG = False
DEVELOPMENT = _flag("STILLHOUSE_DEBUG", False)
if os.environ.get("STILLHOUSE_DEBUG") and not DEVELOPMENT and not os.environ.get("STILLHOUSE_SECRET_KEY"):
    raise ImproperlyConfigured("STILLHOUSE_DEBUG is off, so STILLHOUSE_SECRET_KEY must be set to a long random text of your own.")
SECRET_KEY = os.environ.get("STILLHOUSE_SECRET_KEY") or kept_secret()
if not DEVELOPMENT and len(SECRET_KEY) < 32:
    raise ImproperlyConfigured(f"STILLHOUSE_SECRET_KEY must have at least 32 characters; got {len(SECRET_KEY)}.")
# What earlier keys have signed stays good, and is signed anew with SECRET_KEY when it is next seen.
SECRET_KEY_FALLBACKS = _list("STILLHOUSE_SECRET_KEY_FALLBACKS")
if SECRET_KEY in SECRET_KEY_FALLBACKS or any(len(key) < 32 for key in SECRET_KEY_FALLBACKS):
    raise ImproperlyConfigured(
        "STILLHOUSE_SECRET_KEY_FALLBACKS must be earlier secrets of at least 32 characters, separated by commas, without the present one."
    )

ALLOWED_HOSTS = _list("STILLHOUSE_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = _list("STILLHOUSE_ORIGINS")


# Who may say whose request it is (gate/address.py). STILLHOUSE_BEHIND_PROXY, from before there was a list, is a proxy on this machine.
LOOPBACK = ["127.0.0.1", "::1"] if _flag("STILLHOUSE_BEHIND_PROXY", False) else []
TRUSTED_PROXIES = trusted_proxies("STILLHOUSE_TRUSTED_PROXIES", _list("STILLHOUSE_TRUSTED_PROXIES") or LOOPBACK)


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

# What one web process has at most. Requests and open pages have connections of their own out of one pool (webapp/pool.py), so that neither
# can leave the other without: as many requests are computed at once as have one, and open pages are looked for in as many threads.
REQUESTS_AT_ONCE = _number("STILLHOUSE_REQUESTS_AT_ONCE", "12", least=1)
REQUESTS_WAITING = _number("STILLHOUSE_REQUESTS_WAITING", "300", least=1)
REQUEST_WAIT_SECONDS = 10.0
LIVE_CONNECTIONS = 4
STREAMS = _number("STILLHOUSE_STREAMS", "1200", least=1)
STREAMS_A_PERSON = _number("STILLHOUSE_STREAMS_A_PERSON", "250", least=1)

INSTALLED_APPS = [
    "webapp.accounts.admin_config.GuardedAdminConfig",
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
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "webapp.accounts",
    "webapp.catalog",
    "webapp.comparing",
    "webapp.fleet",
    "webapp.runs",
    "webapp.operate",
]

MIDDLEWARE = [
    "webapp.monitoring.requests.timed",
    "webapp.pool.GiveBack",
    "webapp.gate.caching.NoStore",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "webapp.gate.version.RefuseWrongVersion",
    "webapp.unstorable.RefuseUnstorable",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "webapp.accounts.credentials.sessions.NoteSession",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
    "webapp.gate.refusal.RefusalsOfViews",
    "webapp.gate.limits.RememberCallers",
    "webapp.unavailable.DatabaseAway",
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
    # Names with the content's hash, so that browsers keep files forever. In development they are served from where they lie, uncollected.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEVELOPMENT
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEVELOPMENT
WHITENOISE_AUTOREFRESH = DEVELOPMENT
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How long a link for a new password is good, and where mail goes. Without a mail server links are made by an operator alone.
PASSWORD_RESET_TIMEOUT = 4 * 3600
EMAIL = outside.mail(os.environ.get("STILLHOUSE_EMAIL_URL", ""))
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = EMAIL.host, EMAIL.port, EMAIL.user, EMAIL.password
EMAIL_USE_SSL, EMAIL_USE_TLS, EMAIL_TIMEOUT = EMAIL.over_tls, EMAIL.starts_tls, 10
DEFAULT_FROM_EMAIL = os.environ.get("STILLHOUSE_EMAIL_FROM", "stillhouse@localhost")

OTP_TOTP_ISSUER = "Stillhouse"
OIDC = outside.identity_provider(
    issuer=os.environ.get("STILLHOUSE_OIDC_ISSUER", ""),
    client=os.environ.get("STILLHOUSE_OIDC_CLIENT", ""),
    secret=os.environ.get("STILLHOUSE_OIDC_SECRET", ""),
    title=os.environ.get("STILLHOUSE_OIDC_NAME", "single sign-on"),
    domains=_list("STILLHOUSE_OIDC_DOMAINS"),
    groups=_list("STILLHOUSE_OIDC_GROUPS"),
    groups_claim=os.environ.get("STILLHOUSE_OIDC_GROUPS_CLAIM", "groups"),
)

METRICS_TOKEN = os.environ.get("STILLHOUSE_METRICS_TOKEN", "")

# Security. Behind TLS cookies and pages never travel in the clear; a trusted proxy says which requests did not (gate/address.py).
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
TLS = _flag("STILLHOUSE_TLS", not DEVELOPMENT)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = TLS
SECURE_REDIRECT_EXEMPT = [r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TLS

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

# Sign-in: what locks out whom, and for how long, stands in accounts/lockout.py.
AXES_HANDLER = "webapp.accounts.lockout.Lockout"
AXES_LOCKOUT_CALLABLE = "webapp.accounts.lockout.refuse"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_USERNAME_CALLABLE = "webapp.accounts.attempts.attempted_name"
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ACCESS_FAILURE_LOG = False
# As many passwords at once as fit the memory, and so many more who wait (accounts/hashing.py).
HASHING_MEGABYTES = _number("STILLHOUSE_HASHING_MEGABYTES", "200")
HASHING_QUEUE = _number("STILLHOUSE_HASHING_QUEUE", "20")
PASSWORD_HASHERS = ["webapp.accounts.hashing.Argon2InTurn", "webapp.accounts.hashing.Pbkdf2InTurn"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# How often is too often (gate/quotas.py): requests of an address without an account, of a person, of files; launches and new tokens of a person.
RATES = {
    "address": Rate.parse("STILLHOUSE_ANONYMOUS_RATE", os.environ.get("STILLHOUSE_ANONYMOUS_RATE", "100/10s")),
    "person": Rate.parse("STILLHOUSE_PERSON_RATE", os.environ.get("STILLHOUSE_PERSON_RATE", "500/10s")),
    "files": Rate.parse("STILLHOUSE_FILE_RATE", os.environ.get("STILLHOUSE_FILE_RATE", "1000/10s")),
    "launch": Rate.parse("STILLHOUSE_LAUNCH_RATE", os.environ.get("STILLHOUSE_LAUNCH_RATE", "120/minute")),
    "tokens": Rate.parse("STILLHOUSE_TOKEN_RATE", os.environ.get("STILLHOUSE_TOKEN_RATE", "30/hour")),
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["webapp.accounts.authentication.BearerToken", "rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["webapp.api.body.JsonBody"],
    "DEFAULT_RENDERER_CLASSES": ["webapp.api.rendering.StrictJson"],
    "DEFAULT_PAGINATION_CLASS": "webapp.api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
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
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "webapp.runs.live.described.with_streams"],
    "ENUM_NAME_OVERRIDES": {
        "RunState": "webapp.runs.models.State",
        "Role": "webapp.accounts.models.Role",
        "Scope": "webapp.accounts.models.Scope",
    },
}

LOG_LEVEL = _one_of("STILLHOUSE_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = logs.configuration(
    level=LOG_LEVEL,
    form=_one_of("STILLHOUSE_LOG_FORMAT", "line", logs.FORMATS),
    file=os.environ.get("STILLHOUSE_LOG_FILE", ""),
    megabytes=_number("STILLHOUSE_LOG_MEGABYTES", "10", least=1),
)

# What a project, and a person over all projects, may have at most where an administrator has set nothing else: `queued_runs=10000, store_bytes=500e9`.
PROJECT_QUOTA = _quota("STILLHOUSE_PROJECT_QUOTA", "queued_runs=10000")
PERSON_QUOTA = _quota("STILLHOUSE_PERSON_QUOTA", "queued_runs=5000")
# A run that was launched without a time limit stops after so many seconds of work. 0: never.
RUN_SECONDS = _number("STILLHOUSE_RUN_SECONDS", "604800")

# How long a worker may be quiet before its run is shown as silent, and before the run is given to another worker. Seconds.
SILENT_SECONDS = float(os.environ.get("STILLHOUSE_SILENT_SECONDS", "10"))
LEASE_SECONDS = float(os.environ.get("STILLHOUSE_LEASE_SECONDS", "60"))
HEARTBEAT_SECONDS = float(os.environ.get("STILLHOUSE_HEARTBEAT_SECONDS", "2"))
WATCHDOG_SECONDS = float(os.environ.get("STILLHOUSE_WATCHDOG_SECONDS", "5"))

# After so many different runs in a row that failed before their first step a worker is set aside, first for so many seconds.
WORKER_FAILURES = int(os.environ.get("STILLHOUSE_WORKER_FAILURES", "3"))
ASIDE_SECONDS = float(os.environ.get("STILLHOUSE_ASIDE_SECONDS", "60"))

# A child that stands still for so many seconds, and for so many times as long as its slowest step, is shown as stalled; after so many
# times that it is ended and its run tried again. Zero seconds: nobody looks.
STALL_SECONDS = float(os.environ.get("STILLHOUSE_STALL_SECONDS", "120"))
STALL_STEPS = float(os.environ.get("STILLHOUSE_STALL_STEPS", "20"))
STALL_PATIENCE = float(os.environ.get("STILLHOUSE_STALL_PATIENCE", "5"))
# How long what is no longer needed is kept, in days, and the seconds between two looks at it.
TRASH_DAYS = float(os.environ.get("STILLHOUSE_TRASH_DAYS", "30"))
CHECKPOINT_DAYS = float(os.environ.get("STILLHOUSE_CHECKPOINT_DAYS", "30"))
LOG_DAYS = float(os.environ.get("STILLHOUSE_LOG_DAYS", "180"))
RETAIN_SECONDS = float(os.environ.get("STILLHOUSE_RETAIN_SECONDS", "300"))
