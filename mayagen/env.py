"""The one typed reader of the environment: name, type, default and one sentence for each setting."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BASE_DIR = Path(__file__).resolve().parent.parent
MINIMUM_SECRET_KEY_LENGTH = 50
MINIMUM_SEALING_KEY_LENGTH = 32
PROVIDER_KEY_PREFIX = "MAYAGEN_PROVIDER_KEY_"
CommaSeparated = Annotated[list[str], NoDecode]


class Environment(BaseSettings):
    """What a person who starts MayaGen may decide; everything else is in `settings.py`."""

    model_config = SettingsConfigDict(env_prefix="MAYAGEN_", populate_by_name=True, extra="ignore")

    production: bool = Field(False, description="Refuse to start unless every setting is safe to expose.")
    debug: bool = Field(False, description="Show tracebacks in the browser; never together with production.")
    secret_key: SecretStr | None = Field(
        None, description="Signs sessions and queue messages; made and kept in the data folder when not set."
    )
    jwt_key: SecretStr | None = Field(
        None, description="Signs API access tokens; made and kept in the data folder when not set."
    )
    sealing_keys: Annotated[list[SecretStr], NoDecode] = Field(
        [],
        description="Seal stored provider keys, by commas: the first seals, all open;"
        " made and kept in the data folder when not set.",
    )
    data_dir: Path = Field(BASE_DIR / "var", description="Folder of the database, media and keys made here.")
    database_url: str = Field(
        "",
        validation_alias="DATABASE_URL",
        description="Database address; SQLite in the data folder if empty.",
    )
    port: int = Field(8000, validation_alias="PORT", ge=1, le=65535, description="Port of the web server.")
    bind: str = Field("127.0.0.1", description="Address that the web server listens on.")
    allowed_hosts: CommaSeparated = Field(
        ["localhost", "127.0.0.1", "[::1]"], description="Host names that the site answers to, by commas."
    )
    trusted_origins: CommaSeparated = Field(
        [], description="Origins (https://…) that may post forms, when a proxy ends TLS, by commas."
    )
    trusted_proxy_count: int = Field(
        0, ge=0, le=10, description="Reverse proxies in front of the web server."
    )
    https: bool | None = Field(None, description="Whether visitors come by HTTPS; defaults to production.")
    web_workers: int = Field(2, ge=1, le=64, description="Web server processes.")
    web_threads: int = Field(4, ge=1, le=64, description="Threads of each web server process.")
    queue_workers: int = Field(2, ge=1, le=64, description="Worker processes of the django-q2 cluster.")
    redis_url: str = Field("", description="Redis for the task queue and the cache; the database if empty.")
    media_bucket: str = Field(
        "", description="S3 bucket for images; the data folder's media folder if empty."
    )
    media_endpoint_url: str = Field("", description="Address of an S3-compatible store other than Amazon's.")
    media_region: str = Field("", description="Region of the S3 bucket.")
    email_url: str = Field("", description="smtp://user:password@host:port for mail; the log if empty.")
    public_url: str = Field(
        "", description="Address (https://…) where providers reach this site with webhooks; none if empty."
    )
    unkeyed_in_flight: int = Field(
        64, ge=1, le=1000, description="Calls of unrepeatable kinds that one worker process holds at once."
    )
    lease_seconds: int = Field(
        60,
        ge=10,
        le=600,
        description="How long a worker or task queue without a sign of life is waited for.",
    )
    max_upload_bytes: int = Field(50 * 1024 * 1024, ge=1024, description="Largest image file accepted.")
    log_level: str = Field("INFO", description="Least severe log line that is written.")

    @field_validator("allowed_hosts", "trusted_origins", "sealing_keys", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("sealing_keys")
    @classmethod
    def _refuse_short_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if any(len(key.get_secret_value()) < MINIMUM_SEALING_KEY_LENGTH for key in keys):
            raise ValueError(f"each key must have at least {MINIMUM_SEALING_KEY_LENGTH} random characters")
        return keys

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query):
            raise ValueError("must be like https://mayagen.example.com")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _refuse_unsafe_production(self) -> Self:
        if not self.production:
            return self
        problems = []
        for name in ("secret_key", "jwt_key"):
            key: SecretStr | None = getattr(self, name)
            if key is None or len(key.get_secret_value()) < MINIMUM_SECRET_KEY_LENGTH:
                problems.append(f"MAYAGEN_{name.upper()} must be set to at least 50 random characters")
        if self.debug:
            problems.append("MAYAGEN_DEBUG must be off")
        if "*" in self.allowed_hosts:
            problems.append("MAYAGEN_ALLOWED_HOSTS must name the hosts")
        if problems:
            raise ValueError("unsafe for production: " + "; ".join(problems))
        return self

    @property
    def uses_https(self) -> bool:
        """Whether cookies are for HTTPS only and plain HTTP is redirected."""
        return self.production if self.https is None else self.https

    def get_key(self, name: str) -> str:
        """Return the signing key of that name, making one in the data folder where none was given."""
        given: SecretStr | None = getattr(self, name)
        return given.get_secret_value() if given else read_or_make_key(self.data_dir / f"{name}.txt")

    def get_sealing_keys(self) -> list[str]:
        """Return the keys that seal and open stored provider keys, the one that seals first."""
        given = [key.get_secret_value() for key in self.sealing_keys]
        return given or [read_or_make_key(self.data_dir / "sealing_key.txt")]


def read_environment() -> Environment:
    """Return the environment, or stop the start with one line for each value that is wrong.

    Raises:
        SystemExit: Some value cannot be used; values are never repeated, since some are secret.
    """
    try:
        return Environment()
    except ValidationError as error:
        mistakes = error.errors(include_input=False, include_url=False)
        lines = [
            ": ".join((*map(_to_variable, mistake["loc"]), mistake["msg"].removeprefix("Value error, ")))
            for mistake in mistakes
        ]
        raise SystemExit("\n".join(("MayaGen cannot start with these settings:", *lines))) from None


def _to_variable(name: int | str) -> str:
    """Return the environment variable behind a field; the few with a name of their own are given by it."""
    return (
        f"MAYAGEN_{name.upper()}" if name in Environment.model_fields and isinstance(name, str) else str(name)
    )


def read_or_make_key(path: Path) -> str:
    """Return the key kept in the file, making it first (readable by its owner only) if there is none.

    Two processes that start at once agree on one key: the file appears whole, under an exclusive link.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(64))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()


def read_provider_keys() -> dict[str, str]:
    """Return the provider keys by NAME, from the variables `MAYAGEN_PROVIDER_KEY_NAME`.

    A catalogue entry names its key by NAME, so that it can never name another secret of the environment.
    """
    return {
        name.removeprefix(PROVIDER_KEY_PREFIX): value
        for name, value in os.environ.items()
        if name.startswith(PROVIDER_KEY_PREFIX) and value
    }
