"""The settings that exist: frozen structs with defaults and ranges. ``config/sources.py`` reads them.

``config/fields.py`` says what each is called.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from proxy.setting_types import (
    Bytes,
    CAPath,
    ClaimText,
    Count,
    Depth,
    EventMode,
    FilePath,
    Flag,
    Fraction,
    Host,
    HubURL,
    JwksURL,
    JwtAlgorithm,
    JwtKey,
    KeyDigest,
    KeyPath,
    LargeCount,
    Leeway,
    Limit,
    LogFormat,
    Name,
    Namespace,
    Origins,
    PasswordPath,
    Port,
    Rate,
    RedisURL,
    Refresh,
    Seconds,
    Timeout,
    Token,
)


class CredentialSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further token of the hub, for some namespaces."""

    name: Name
    namespaces: Annotated[tuple[Namespace, ...], Meta(min_length=1, description="a list of at least one namespace")]
    api_key: Token | None = None
    api_key_file: FilePath | None = None


Credentials = Annotated[
    tuple[CredentialSettings, ...], Meta(description="tables of name, namespaces, and api_key or api_key_file")
]


class HubSettings(Struct, frozen=True, kw_only=True):
    """The upstream API and how it is asked."""

    url: HubURL = "https://hub.oxen.ai"
    api_key: Token | None = None
    api_key_file: FilePath | None = None
    credentials: Credentials = ()
    ca_file: CAPath | None = None
    connect_timeout: Timeout = 2.0
    read_timeout: Timeout = 10.0
    deadline: Timeout = 15.0
    rate: Rate = 20.0
    burst: LargeCount = 40
    concurrency: Count = 8
    max_waiting: LargeCount = 5000
    answer_bytes: Bytes = 16 * 2**20


class CacheSettings(Struct, frozen=True, kw_only=True):
    """How long pages may be served, and the memory that holds them."""

    live_ttl: Seconds = 1.0
    settled_ttl: Seconds = 5.0
    settled_item_ttl: Seconds = 600.0
    max_page_age: Seconds = 600.0
    min_refresh: Seconds = 0.5
    patience: Seconds = 0.3
    stale_if_error: Seconds = 86_400.0
    stale_if_error_live: Seconds = 60.0
    compose: Flag = True
    listing_depth: Depth = 1000
    memory_bytes: Bytes = 64 * 2**20


class RedisSettings(Struct, frozen=True, kw_only=True):
    """The cache that replicas share; without a URL there is only memory."""

    url: RedisURL | None = None
    password_file: PasswordPath | None = None
    timeout: Timeout = 0.05
    connections: Count = 64
    replicas: Count = 1


class EventSettings(Struct, frozen=True, kw_only=True):
    """The hub's events: whether they are listened to, and for how many callers."""

    mode: EventMode = "auto"
    listeners: LargeCount = 1000


class ServerSettings(Struct, frozen=True, kw_only=True):
    """Where the proxy listens and how it stops."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    workers: Count = 1
    drain_delay: Seconds = 2.0
    shutdown_timeout: Timeout = 15.0


class CallerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may ask: by which keys they are known, and what they may see."""

    name: Name
    keys: tuple[KeyDigest, ...]
    namespaces: tuple[Namespace, ...] = ()
    unnamed: Flag = False
    rate: Limit | None = None
    burst: LargeCount | None = None


Callers = Annotated[
    tuple[CallerSettings, ...],
    Meta(
        description="tables of name, keys (as `generations-proxy key` prints them),"
        ' namespaces (["*"]: all), unnamed, rate and burst'
    ),
]


class AuthSettings(Struct, frozen=True, kw_only=True):
    """Who may ask. With callers, everybody has to say who they are; without, the proxy stays on loopback."""

    allow_anonymous: Flag = False
    callers: Callers = ()


class LimitSettings(Struct, frozen=True, kw_only=True):
    """What each caller may ask; with a rate of 0, as much as it likes."""

    rate: Limit = 0.0
    burst: LargeCount = 100
    hit_weight: Fraction = 1.0


class CorsSettings(Struct, frozen=True, kw_only=True):
    """Which pages of other origins may ask from a browser."""

    origins: Origins = ()


class AdminSettings(Struct, frozen=True, kw_only=True):
    """What operators may do over HTTP."""

    key: Token | None = None
    key_file: KeyPath | None = None


class JwtSettings(Struct, frozen=True, kw_only=True):
    """Which JSON Web Tokens (RFC 7519) say who asks; without an algorithm, none does."""

    algorithm: JwtAlgorithm | None = None
    key: JwtKey | None = None
    key_file: KeyPath | None = None
    jwks_url: JwksURL | None = None
    jwks_ca_file: CAPath | None = None
    issuer: ClaimText | None = None
    audience: ClaimText | None = None
    leeway: Leeway = 30.0
    namespaces_claim: ClaimText = "namespaces"
    name_claim: ClaimText = "sub"
    jwks_refresh: Refresh = 300.0
    jwks_min_interval: Refresh = 10.0


class StatusSettings(Struct, frozen=True, kw_only=True):
    """Who may look at the status page; with neither, it does not exist, unless operators have a key."""

    key: Token | None = None
    key_file: KeyPath | None = None
    open: Flag = False


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is written to standard error, and how."""

    format: LogFormat = "auto"
    requests: Flag = True


class TracingSettings(Struct, frozen=True, kw_only=True):
    """Spans for OpenTelemetry; where they are sent, its own variables say."""

    enabled: Flag = False
    ratio: Fraction = 1.0


class Settings(Struct, frozen=True, kw_only=True):
    """All settings."""

    hub: HubSettings = HubSettings()
    cache: CacheSettings = CacheSettings()
    redis: RedisSettings = RedisSettings()
    events: EventSettings = EventSettings()
    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    cors: CorsSettings = CorsSettings()
    admin: AdminSettings = AdminSettings()
    jwt: JwtSettings = JwtSettings()
    log: LogSettings = LogSettings()
    status: StatusSettings = StatusSettings()
    tracing: TracingSettings = TracingSettings()
