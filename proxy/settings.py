"""The settings that exist: frozen structs with defaults and ranges. ``config/sources.py`` reads them.

``config/fields.py`` says what each is called.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from proxy.secret import Secret

Seconds = Annotated[float, Meta(ge=0, le=31_536_000, description="seconds, from 0 to 31536000")]
Timeout = Annotated[float, Meta(gt=0, le=3600, description="seconds, more than 0, at most 3600")]
Bytes = Annotated[int, Meta(ge=65_536, le=2**40, description="bytes, a whole number from 65536")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="a number more than 0, at most 1000000")]
Limit = Annotated[float, Meta(ge=0, le=1_000_000, description="a number from 0 to 1000000")]
Part = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Many = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Depth = Annotated[int, Meta(ge=50, le=10_000, description="a whole number from 50 to 10000")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a port from 1 to 65535, or 0 for any free one")]
Host = Annotated[str, Meta(min_length=1, max_length=255, description="an address (::1, say, for IPv6) or a host name")]
Switch = Annotated[bool, Meta(description="true or false")]
FilePath = Annotated[str, Meta(min_length=1, description="the path of a file that holds a token")]
Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}\Z",
        description="1 to 64 ASCII letters, digits and _.@-, the first a letter or a digit",
    ),
]
KeyDigest = Annotated[
    str,
    Meta(
        pattern=r"^sha256:[0-9a-f]{64}\Z",
        description="sha256: and 64 hex digits, as `generations-proxy key` prints",
    ),
]
Namespace = Annotated[str, Meta(min_length=1, max_length=255, description="a text of 1 to 255 characters")]
Origin = Annotated[
    str,
    Meta(
        pattern=r"^(https(?!.*:443\Z)|http(?!.*:80\Z))://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?\Z",
        description="an origin",
    ),
]
Origins = Annotated[
    tuple[Origin, ...],
    Meta(
        description="origins as browsers send them: https://app.example, in lower case,"
        " with the port unless it is 443 for https, 80 for http"
    ),
]
Token = Annotated[Secret, Meta(description="visible ASCII characters without spaces")]
HubURL = Annotated[str, Meta(description="http(s)://host[:port][/prefix], without user, query or fragment")]
RedisURL = Annotated[
    Secret,
    Meta(description="redis[s]://host, unix://path, redis[s]+cluster://host,… or redis[s]+sentinel://host,…/service"),
]

EventMode = Annotated[Literal["auto", "off"], Meta(description="auto or off")]
JwtAlgorithm = Annotated[Literal["HS256", "RS256", "ES256", "EdDSA"], Meta(description="HS256, RS256, ES256 or EdDSA")]
JwtKey = Annotated[Secret, Meta(description="a secret of at least 32 bytes for HS256, else a public key as PEM")]
KeyPath = Annotated[str, Meta(min_length=1, description="the path of a file that holds the key")]
JwksURL = Annotated[str, Meta(min_length=1, description="http(s)://host[:port]/path, without user or fragment")]
ClaimText = Annotated[str, Meta(min_length=1, max_length=1024, description="a text of 1 to 1024 characters")]
Leeway = Annotated[float, Meta(ge=0, le=300, description="seconds, from 0 to 300")]
LogFormat = Annotated[Literal["auto", "json", "text"], Meta(description="auto, json or text")]
PasswordPath = Annotated[str, Meta(min_length=1, description="the path of a file that holds the password")]
Refresh = Annotated[float, Meta(ge=1, le=86_400, description="seconds, from 1 to 86400")]


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
    connect_timeout: Timeout = 2.0
    read_timeout: Timeout = 10.0
    deadline: Timeout = 15.0
    rate: Rate = 20.0
    burst: Many = 40
    concurrency: Count = 8
    max_waiting: Many = 5000
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
    compose: Switch = True
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
    listeners: Many = 1000


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
    unnamed: Switch = False
    rate: Limit | None = None
    burst: Many | None = None


Callers = Annotated[
    tuple[CallerSettings, ...],
    Meta(
        description="tables of name, keys (as `generations-proxy key` prints them),"
        ' namespaces (["*"]: all), unnamed, rate and burst'
    ),
]


class AuthSettings(Struct, frozen=True, kw_only=True):
    """Who may ask. With callers, everybody has to say who they are; without, the proxy stays on loopback."""

    allow_anonymous: Switch = False
    callers: Callers = ()


class LimitSettings(Struct, frozen=True, kw_only=True):
    """What each caller may ask; with a rate of 0, as much as it likes."""

    rate: Limit = 0.0
    burst: Many = 100
    hit_weight: Part = 1.0


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
    open: Switch = False


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is written to standard error, and how."""

    format: LogFormat = "auto"
    requests: Switch = True


class TracingSettings(Struct, frozen=True, kw_only=True):
    """Spans for OpenTelemetry; where they are sent, its own variables say."""

    enabled: Switch = False
    ratio: Part = 1.0


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
