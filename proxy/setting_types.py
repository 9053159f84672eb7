"""What values of settings may be: types with their ranges, which are also said in words."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from proxy.secret import Secret

Seconds = Annotated[float, Meta(ge=0, le=31_536_000, description="seconds, from 0 to 31536000")]
Timeout = Annotated[float, Meta(gt=0, le=3600, description="seconds, more than 0, at most 3600")]
Bytes = Annotated[int, Meta(ge=65_536, le=2**40, description="bytes, a whole number from 65536")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
Rate = Annotated[float, Meta(gt=0, le=1_000_000, description="a number more than 0, at most 1000000")]
Limit = Annotated[float, Meta(ge=0, le=1_000_000, description="a number from 0 to 1000000")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
LargeCount = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
Depth = Annotated[int, Meta(ge=50, le=10_000, description="a whole number from 50 to 10000")]
Port = Annotated[int, Meta(ge=0, le=65_535, description="a port from 1 to 65535, or 0 for any free one")]
Host = Annotated[str, Meta(min_length=1, max_length=255, description="an address (::1, say, for IPv6) or a host name")]
Flag = Annotated[bool, Meta(description="true or false")]
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
CAPath = Annotated[str, Meta(min_length=1, description="the path of a file of certificates (PEM)")]
Refresh = Annotated[float, Meta(ge=1, le=86_400, description="seconds, from 1 to 86400")]
