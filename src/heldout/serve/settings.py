"""Settings of the service: options, else ``HELDOUT_SERVE_*`` of the environment, else ``.env``, else defaults."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from heldout.errors import UserError

PREFIX = "HELDOUT_SERVE_"
Names = Annotated[tuple[str, ...], NoDecode]


class ServeSettings(BaseSettings):
    """What the service does; every field is also a variable of the environment with the prefix ``HELDOUT_SERVE_``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    decision: Names = Field((), description="decisions to serve, separated by commas, or one bundle")
    registry: str | None = Field(
        None, description="folder or s3:// address of the registry; HELDOUT_REGISTRY, else working/registry"
    )
    registry_seconds: float = Field(10, gt=0, description="pause between looks at the registry")
    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(8000, ge=0, lt=65536, description="port to bind; 0 takes a free one")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the networks compute")
    workers: int = Field(1, ge=1, le=64, description="number of network processes")
    unsealed: bool = Field(False, description="also serve experiments and blends that are not sealed")
    trust: bool = Field(False, description="run the code of a bundle that was not written here")
    token: str | None = Field(None, min_length=8, description="bearer token that every request must carry")
    token_file: Path | None = Field(None, description="file of lines `name: token`, one per reviewer")
    audit_log: Path | None = Field(
        None, description="file to which a line is appended for every request, review, promotion and switch"
    )
    allow_origins: Names = Field((), description="origins that a browser may call from, separated by commas")
    allow_hosts: Names = Field(
        (), description="names of this service beside localhost, where it asks for no token, separated by commas"
    )
    default_threshold: float | None = Field(
        None, ge=0, le=1, description="threshold of masks instead of the sealed ones, where a request names none"
    )
    tta: str | None = Field(None, description="axes of the flips instead of the sealed ones, such as hv")
    max_upload_mb: float = Field(512, gt=0, description="largest body of a request, in MB")
    max_inflated_mb: float = Field(2048, gt=0, description="largest content of an uploaded zip archive, in MB")
    max_json_mb: float = Field(32, gt=0, description="largest JSON body, in MB")
    header_seconds: float = Field(20, gt=0, description="time in which the head of a request must arrive")
    upload_seconds: float = Field(120, gt=0, description="time in which a body must arrive")
    queue: int = Field(64, ge=1, description="number of requests that may wait for the networks; more are told 503")
    batch: int = Field(16, ge=1, description="number of images that go through the networks together")
    batch_wait_ms: float = Field(4, ge=0, description="longest wait for images that are being read; none for one alone")
    case_memory_mb: float = Field(1024, gt=0, description="memory of images that wait for the networks, in MB")
    answer_seconds: float = Field(1800, gt=0, description="silence after which a busy network process is replaced")
    job_keep_minutes: float = Field(60, gt=0, description="time for which the result of a job is kept")
    job_keep_mb: float = Field(1024, gt=0, description="results of jobs that are kept, in MB; the oldest go first")

    @field_validator("decision", "allow_origins", "allow_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @property
    def is_local(self) -> bool:
        """Whether the address is one of this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_settings(**given: Any) -> ServeSettings:
    """The settings, with what the command line gives in place of the environment's.

    Raises:
        UserError: a value does not fit; the message names the option and the variable.
    """
    try:
        return ServeSettings(**{name: value for name, value in given.items() if value not in (None, ())})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        value = "" if name == "token" else f" = {first.get('input')!r}"
        raise UserError(
            f"{PREFIX}{name.upper()} or --{name.replace('_', '-')}{value} does not fit "
            f"({first['msg'].lower()}): see `python run.py serve --show-settings`"
        ) from None


def describe(settings: ServeSettings) -> list[tuple[str, str, str]]:
    """Variable, value and meaning of every setting; a token is not shown."""
    rows = []
    for name, one in ServeSettings.model_fields.items():
        value = getattr(settings, name)
        listed = ",".join(value) if isinstance(value, tuple) else value
        text = "set" if name == "token" and value else "" if value in (None, ()) else str(listed)
        rows.append((f"{PREFIX}{name.upper()}", text, one.description or ""))
    return rows


def read_tokens(settings: ServeSettings) -> dict[str, str]:
    """Name by token of everybody who may ask; empty where anybody may.

    Raises:
        UserError: the file cannot be read or a line is not ``name: token``, or the service is open to other machines
            without any token.
    """
    tokens = {settings.token: "token"} if settings.token else {}
    if settings.token_file:
        try:
            lines = settings.token_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the token file {settings.token_file} cannot be read: {error}; name another") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, _, token = (part.strip() for part in line.partition(":"))
            if not name or len(token) < 8:
                raise UserError(
                    f"{settings.token_file} line {number}: write `name: token` with a token of 8 characters or more"
                )
            tokens[token] = name
        if not tokens:
            raise UserError(f"{settings.token_file} holds no token: write lines such as `anna: {'x' * 3}...`")
    if not tokens and not settings.is_local:
        raise UserError(
            f"{settings.host} can be reached by other machines: give --token-file, or bind 127.0.0.1 with --host"
        )
    return tokens
