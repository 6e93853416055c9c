"""Django settings: one file for every installation; what differs comes from `mayagen.env`."""

from __future__ import annotations

import os
from typing import Any

import dj_database_url
from django.templatetags.static import static
from django.urls import reverse_lazy

from mayagen.env import BASE_DIR, read_environment, read_provider_keys

ENV = read_environment()

# Core
SECRET_KEY = ENV.get_key("secret_key")
DEBUG = ENV.debug
ALLOWED_HOSTS = ENV.allowed_hosts
ROOT_URLCONF = "mayagen.urls"
WSGI_APPLICATION = "mayagen.wsgi.application"
APPEND_SLASH = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "mayagen.apps.MayagenConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "mayagen.apps.MayagenAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.headless",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django_q",
    "accounts",
    "prompts",
    "generations",
    "evaluations",
]

MIDDLEWARE = [
    "mayagen.security.RequestIdMiddleware",
    "mayagen.health.ProbeMiddleware",
    "accounts.middleware.AuditContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "mayagen.security.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    # Before the check that reads the body.
    "mayagen.body_limits.BodyLimitMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

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
            ],
        },
    },
]

# Database. SQLite waits for its one writer instead of failing, and keeps readers going meanwhile.
DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(
        ENV.database_url or f"sqlite:///{ENV.data_dir / 'mayagen.sqlite3'}",
        conn_max_age=60,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    ENV.data_dir.mkdir(parents=True, exist_ok=True)
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["ENGINE"] = "mayagen.common.postgresql"
if "TEST_DATABASE_NAME" in os.environ and "sqlite" not in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["TEST"] = {"NAME": os.environ["TEST_DATABASE_NAME"]}

CACHES = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ENV.redis_url}
        if ENV.redis_url
        else {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "mayagen_cache"}
    )
}

# People
AUTH_USER_MODEL = "accounts.User"
# E-mail addresses are unique without regard to case, which the check for `unique=True` does not see.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]
AUTHENTICATION_BACKENDS = ["accounts.backends.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("account_login")
LOGIN_REDIRECT_URL = reverse_lazy("home")
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = ENV.trusted_origins

ACCOUNT_ADAPTER = "accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[MayaGen] "
ACCOUNT_FORMS = {
    "login": "accounts.forms.LoginForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
}
# The product limits failed sign-ins itself, by account and address together (accounts.sign_in_limits):
# allauth's limit by account alone lets anybody lock the owner out.
ACCOUNT_RATE_LIMITS = False
ALLAUTH_TRUSTED_PROXY_COUNT = ENV.trusted_proxy_count
HEADLESS_CLIENTS = ("app",)
HEADLESS_TOKEN_STRATEGY = "accounts.tokens.RowLockedJWTStrategy"  # noqa: S105 - a dotted path
HEADLESS_JWT_ALGORITHM = "HS256"
HEADLESS_JWT_PRIVATE_KEY = ENV.get_key("jwt_key")
HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = 15 * 60
HEADLESS_JWT_REFRESH_TOKEN_EXPIRES_IN = 7 * 24 * 3600
HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = True

# Mail
if ENV.email_url:
    from urllib.parse import unquote, urlsplit

    _mail = urlsplit(ENV.email_url)
    EMAIL_HOST, EMAIL_PORT = _mail.hostname, _mail.port or 587
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
    EMAIL_USE_TLS = EMAIL_PORT == 587  # noqa: PLR2004 - the submission port
    # Mail servers refuse a sender that is not theirs; most accounts are named by their address.
    DEFAULT_FROM_EMAIL = EMAIL_HOST_USER if "@" in EMAIL_HOST_USER else f"mayagen@{EMAIL_HOST}"
else:
    EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

# API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.TokenAuthentication",
        "accounts.api.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["mayagen.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "mayagen.api.pagination.IdCursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["mayagen.api.filters.StrictFilterBackend"],
    "DEFAULT_THROTTLE_CLASSES": ["mayagen.api.throttling.RowThrottle"],
    "DEFAULT_SCHEMA_CLASS": "mayagen.api.schema.ProblemAutoSchema",
    # What OPTIONS would tell of serializers and choices is in the schema, for those who may see it.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "mayagen.api.exception_handler.handle_exception",
    "NUM_PROXIES": ENV.trusted_proxy_count,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "MayaGen API",
    "DESCRIPTION": "Versioned prompts, generation runs, blind ratings and their analytics.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "UserRoleEnum": "accounts.roles.ROLES",
        "GenerationStatusEnum": "generations.choices.Status",
        "RunKindEnum": "generations.choices.RunKind",
        "ImageModelKindEnum": "prompts.choices.Kind",
        "GenerationSourceEnum": "generations.choices.Source",
        "ErrorCodeEnum": "generations.choices.ErrorCode",
        "ImageRoleEnum": "generations.choices.ImageRole",
        "AttemptStateEnum": "generations.choices.AttemptState",
        "ImportStateEnum": "generations.choices.ImportState",
        "AssignmentStateEnum": "evaluations.choices.AssignmentState",
    },
}

# Task queue. Messages carry no arguments and no truth; the rows do (see generations.engine).
# `retry` exceeds `timeout`, which exceeds the longest a drain may take.
Q_CLUSTER: dict[str, Any] = {
    "name": "mayagen",
    "label": "Task queue",
    "workers": ENV.queue_workers,
    "timeout": 1500,
    "retry": 1800,
    "queue_limit": ENV.queue_workers,
    "bulk": 1,
    "poll": 0.1,
    "ack_failures": True,
    "max_attempts": 1,
    "save_limit": 200,
    "catch_up": False,
    "recycle": 200,
    **({"redis": ENV.redis_url} if ENV.redis_url else {"orm": "default"}),
}

# Files
STATIC_URL = "/static/"
STATIC_ROOT = ENV.data_dir / "static"
MEDIA_ROOT = ENV.data_dir / "media"
# Outputs on their way: beside the images, where there is room for them, and not where a server might look.
SPOOL_ROOT = ENV.data_dir / "spool"
STORAGES: dict[str, Any] = {
    "default": {
        "BACKEND": "mayagen.common.storage.SyncedFileSystemStorage",
        "OPTIONS": {"location": str(MEDIA_ROOT)},
    },
    "staticfiles": {"BACKEND": "mayagen.static_files.HashedStaticFilesStorage"},
}
if ENV.media_bucket:
    STORAGES["default"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": ENV.media_bucket,
            "endpoint_url": ENV.media_endpoint_url or None,
            "region_name": ENV.media_region or None,
            "default_acl": None,
            "file_overwrite": False,
            "querystring_auth": True,
            "querystring_expire": 300,
        },
    }
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
FILE_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
MEDIA_MAX_UPLOAD_BYTES = ENV.max_upload_bytes

# Image providers
PROVIDER_KEYS = read_provider_keys()
PUBLIC_URL = ENV.public_url
UNKEYED_IN_FLIGHT = ENV.unkeyed_in_flight
LEASE_SECONDS = ENV.lease_seconds
SEALING_KEYS = ENV.get_sealing_keys()

# Language and time
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
# Django writes dates as its language files say, whatever DATETIME_FORMAT says here.
FORMAT_MODULE_PATH = "mayagen.formats"
USE_TZ = True

# Security (the policies of each kind of page are in mayagen.security)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENV.uses_https
SECURE_SSL_REDIRECT = ENV.uses_https
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if ENV.uses_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = ENV.uses_https
SECURE_HSTS_PRELOAD = ENV.uses_https
if ENV.trusted_proxy_count:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Logging
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"short_refusals": {"()": "mayagen.log_lines.ShortRefusals"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["short_refusals"]},
    },
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {"django-q": {"handlers": ["console"], "level": "WARNING", "propagate": False}},
}

# Admin theme
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "MayaGen",
    "SITE_HEADER": "MayaGen",
    "SITE_SYMBOL": "image_search",
    "SITE_ICON": lambda _request: static("mayagen/logo.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("mayagen/logo.svg")}
    ],
    "STYLES": [lambda _request: static("evaluations/admin.css")],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "evaluations.views.dashboard.add_dashboard",
    "SIDEBAR": {"show_search": True, "navigation": "mayagen.navigation.list_navigation"},
    # The accent of mayagen/static/mayagen/tokens.css and its neighbours.
    "COLORS": {
        "primary": {
            "50": "#faf5ff",
            "100": "#f3e8ff",
            "200": "#e9d4ff",
            "300": "#dab2ff",
            "400": "#c27aff",
            "500": "#ad46ff",
            "600": "#8200db",
            "700": "#6e11b0",
            "800": "#59168b",
            "900": "#4a1272",
            "950": "#33204a",
        },
    },
}
