"""Settings from a file and the environment: precedence, and every fault at once."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Literal

import certifi
import pytest

from proxy.config.faults import TO_SERVE, is_loopback, require_credential, require_safe_address
from proxy.config.fields import FIXED_NAMES, fields, regular_name
from proxy.config.sources import SettingsError, is_secret, load
from proxy.redis.address import read_address
from proxy.redis.client import check_redis_url
from proxy.secret import MASK, Secret
from proxy.setting_types import Token
from proxy.settings import Settings

CERTIFI = certifi.where()


def faults(environ: dict[str, str], config: str | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(environ, config)
    return caught.value.faults


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "proxy.toml"


def test_without_any_setting_the_defaults_hold() -> None:
    settings = load({}).settings
    assert settings == Settings()
    assert settings.hub.url == "https://hub.oxen.ai"
    assert (settings.cache.live_ttl, settings.cache.settled_ttl) == (1.0, 5.0)
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)


def test_workers_that_share_nothing_are_worth_a_warning() -> None:
    (warning,) = load({"PROXY_WORKERS": "4"}).warnings
    assert warning.startswith("PROXY_WORKERS: 4, and REDIS_URL is not set: each worker keeps a cache of its own")
    assert not load({"PROXY_WORKERS": "4", "REDIS_URL": "redis://redis.test"}).warnings
    assert not load({"PROXY_WORKERS": "1"}).warnings


def test_every_setting_can_be_given_both_ways(file: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file")
    special = {
        "OXEN_HUB_URL": "http://hub.test:81/prefix",
        "OXEN_API_KEY": "token",
        "PROXY_ADMIN_KEY": "token",
        "PROXY_STATUS_KEY": "token",
        "PROXY_ADMIN_KEY_FILE": str(tmp_path / "token"),
        "PROXY_STATUS_KEY_FILE": str(tmp_path / "token"),
        "PROXY_STATUS_OPEN": "true",
        "OXEN_API_KEY_FILE": str(tmp_path / "token"),
        "REDIS_URL": "rediss://user:pw@redis.test:6380/2",
        "PROXY_HOST": "::1",
        "PROXY_AUTH_ALLOW_ANONYMOUS": "true",
        "PROXY_CACHE_COMPOSE": "false",
        "PROXY_CACHE_LISTING_DEPTH": "70",
        "PROXY_LIMITS_HIT_WEIGHT": "0.5",
        "PROXY_TRACING_RATIO": "0.5",
        "PROXY_REDIS_PASSWORD_FILE": str(tmp_path / "token"),
        "PROXY_HUB_CA_FILE": CERTIFI,
        "PROXY_LOG_FORMAT": "json",
        "PROXY_EVENTS_MODE": "off",
        "PROXY_LOG_REQUESTS": "false",
        "PROXY_TRACING_ENABLED": "true",
    }
    tables = {
        "PROXY_HUB_CREDENTIALS": {"name": "farm", "namespaces": ["moo"], "api_key": "token"},
        "PROXY_AUTH_CALLERS": {"name": "web", "keys": ["sha256:" + "0" * 64], "namespaces": ["ox"]},
    }
    for field in fields():
        if field.section == "jwt":
            continue
        text = special.get(field.variable, "70000" if "bytes" in field.name else "7")
        value = f'"{text}"' if field.variable in special and text not in ("true", "false", "70", "0.5") else text
        value += ".0" if "second" in field.allowed else ""
        if table := tables.get(field.variable):
            text = json.dumps([table])
            value = "[{" + ", ".join(f"{name} = {json.dumps(one)}" for name, one in table.items()) + "}]"
        if field.variable == "PROXY_CORS_ORIGINS":
            text, value = "https://app.example", '["https://app.example"]'
        with_it = {"REDIS_URL": "redis://redis.test"} if field.variable == "PROXY_REDIS_PASSWORD_FILE" else {}
        by_environment = load({field.variable: text, **with_it}).settings
        file.write_text(f"[{field.section}]\n{field.name} = {value}\n")
        by_file = load({"PROXY_CONFIG": str(file), **with_it}).settings
        assert by_environment == by_file != Settings(), field.variable


def test_every_setting_of_tokens_can_be_given_both_ways(file: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s" * 32)
    base: dict[str, object] = {"algorithm": "HS256", "key": "s" * 32, "issuer": "i", "audience": "a"}
    one_of: list[dict[str, object]] = [
        {"key_file": str(tmp_path / "key"), "key": None},
        {"jwks_url": "https://login.test/keys", "key": None, "algorithm": "ES256"},
        {"jwks_url": "https://login.test/keys", "key": None, "algorithm": "ES256", "jwks_ca_file": CERTIFI},
        {"leeway": 7.0},
        {"namespaces_claim": "ns"},
        {"name_claim": "name"},
        {"jwks_refresh": 7.0},
        {"jwks_min_interval": 7.0},
    ]
    given = [{name: value for name, value in (base | other).items() if value is not None} for other in one_of]
    seen = []
    for one in given:
        by_environment = load({f"PROXY_JWT_{name}".upper(): str(value) for name, value in one.items()}).settings
        file.write_text("[jwt]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in one.items()))
        assert load({"PROXY_CONFIG": str(file)}).settings == by_environment
        seen.append(by_environment)
    assert all(one != other for one, other in itertools.combinations(seen, 2))
    assert {name for one in given for name in one} == {field.name for field in fields() if field.section == "jwt"}


def test_the_environment_is_over_the_file(file: Path) -> None:
    file.write_text("[cache]\nlive_ttl = 2\nsettled_ttl = 20\n")
    cache = load({"PROXY_CACHE_LIVE_TTL": "3"}, str(file)).settings.cache
    assert (cache.live_ttl, cache.settled_ttl) == (3.0, 20.0)


def test_an_empty_variable_is_unset() -> None:
    assert load({"REDIS_URL": "", "PROXY_PORT": "", "PROXY_CONFIG": ""}).settings == Settings()


def test_the_argument_is_over_the_variable(file: Path) -> None:
    file.write_text("[cache]\nlive_ttl = 2\n")
    assert load({"PROXY_CONFIG": "/nowhere"}, str(file)).settings.cache.live_ttl == 2


def test_all_faults_are_told_at_once_by_name(file: Path) -> None:
    file.write_text('[cache]\nsetled_ttl = 3\nmemory_bytes = "64"\n[hubb]\nurl = 1\n')
    found = faults(
        {
            "PROXY_CACHE_LIVE_TTL": "soon",
            "PROXY_PORT": "70000",
            "OXEN_HUB_URL": "hub.oxen.ai",
            "OXEN_API_KEY": "two words",
            "REDIS_URL": "localhost:6379",
        },
        str(file),
    )
    begins = sorted(fault.split(":")[0] for fault in found)
    assert begins == sorted(
        [
            "[cache] setled_ttl",
            "[hubb]",
            "[hubb] url",
            "[cache] memory_bytes",
            "PROXY_CACHE_LIVE_TTL",
            "PROXY_PORT",
            "OXEN_HUB_URL",
            "OXEN_API_KEY",
            "REDIS_URL",
        ]
    )
    assert "did you mean [cache] settled_ttl?" in "\n".join(found)
    assert "did you mean [hub]?" in "\n".join(found)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PROXY_CACHE_LIVE_TTL", "nan"),
        ("PROXY_CACHE_LIVE_TTL", "inf"),
        ("PROXY_CACHE_LIVE_TTL", "-1"),
        ("PROXY_CACHE_LIVE_TTL", "1s"),
        ("PROXY_HUB_READ_TIMEOUT", "0"),
        ("PROXY_CACHE_MEMORY_BYTES", "64MiB"),
        ("PROXY_WORKERS", "0"),
        ("PROXY_WORKERS", "2.5"),
        ("PROXY_PORT", "tcp://10.0.0.1:8080"),
        ("PROXY_AUTH_ALLOW_ANONYMOUS", "perhaps"),
        ("OXEN_HUB_URL", "ftp://hub.test"),
        ("OXEN_HUB_URL", "http://"),
        ("OXEN_HUB_URL", "http://hub.test:99999"),
        ("OXEN_HUB_URL", "http://hub.test:0"),
        ("OXEN_HUB_URL", "http://hub.test?x=1"),
        ("OXEN_HUB_URL", "http://hub.test#x"),
        *[
            ("OXEN_HUB_URL", f"http://hub.test{end}")
            for end in ("?", "#", "/?", "/x#", "/a b", "/x ", " ", "\n", "\u200b")
        ],
        *[("OXEN_HUB_URL", f"http://hub.test{path}") for path in ("/../x", "/x/..", "/./x", "/größe", '/"x"')],
        *[
            ("OXEN_HUB_URL", url)
            for url in (" http://hub.test", "\thttp://hub.test", "http://@hub.test", "http:/hub.test")
        ],
        *[("OXEN_HUB_URL", url) for url in ("http://hub test", "http://hub\u200b.test", "http://[::1", "http://xn--a")],
        *itertools.product(
            ("PROXY_AUTH_CALLERS", "PROXY_HUB_CREDENTIALS"),
            ("[" * 3000, "{", '[{"name": "a", "keys": [], "rate": 1e400}]', "\udcff"),
        ),
        ("PROXY_CORS_ORIGINS", "[" * 3000),
        ("PROXY_AUTH_CALLERS", json.dumps([{"name": "a\n", "keys": []}])),
        ("PROXY_AUTH_CALLERS", json.dumps([{"name": "a", "keys": ["sha256:" + "0" * 64 + "\n"]}])),
        ("OXEN_API_KEY_FILE", "/nowhere/token"),
        ("REDIS_URL", "redis://"),
        ("REDIS_URL", "http://redis.test"),
        ("PROXY_CONFIG", "/nowhere/proxy.toml"),
    ],
)
def test_a_value_that_is_not_allowed_is_a_fault_by_its_name(variable: str, value: str) -> None:
    (fault,) = faults({variable: value})
    assert fault.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    "url",
    [
        *[
            "http://hub.test",
            "HTTPS://Hub.Test",
            "http://hub.test:80/",
            "http://[::1]:8090",
            "http://xn--hst-sna.test",
            "http://hub.test/a/b/",
        ],
        *["http://hub.test/gr%C3%B6%C3%9Fe", "http://hub.test/%7Eme/~me/a:b@c;d=e"],
    ],
)
def test_every_form_of_a_hub_url_is_taken_as_it_is(url: str) -> None:
    assert load({"OXEN_HUB_URL": url}).settings.hub.url == url


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OXEN_API_KEY", "s3cr3t token"),
        ("REDIS_URL", "http://user:s3cr3t@redis.test"),
        ("OXEN_HUB_URL", "https://s3cr3t@hub.test"),
        ("OXEN_HUB_URL", "https://user:s3cr3t@hub.test"),
    ],
)
def test_faults_show_no_secret(variable: str, value: str) -> None:
    assert "s3cr3t" not in str(faults({variable: value}))


@pytest.mark.parametrize("text", ["[cache", "cache = 1", "\xff", "cache = " + "[" * 3000])
def test_a_broken_file_is_a_fault(file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    assert faults({}, str(file))


def test_the_file_is_strict_where_the_environment_is_text(file: Path) -> None:
    file.write_text('[cache]\nlive_ttl = "1"\n')
    assert faults({}, str(file)) == ["[cache] live_ttl: '1' is not allowed; allowed: seconds, from 0 to 31536000"]


@pytest.mark.parametrize("name", ["OXEN_API_KEY", "PROXY_ADMIN_KEY", "PROXY_STATUS_KEY"])
def test_two_keys_are_one_too_many(name: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("x")
    (fault,) = faults({name: "x", f"{name}_FILE": str(tmp_path / "t")})
    assert fault == f"{name}: {name}_FILE is set too; set one of the two"
    (fault,) = faults({f"{name}_FILE": str(tmp_path / "nothing")})
    assert fault.startswith(f"{name}_FILE: cannot read ")


def test_a_password_without_a_redis_would_do_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    (fault,) = faults({"PROXY_REDIS_PASSWORD_FILE": str(tmp_path / "p")})
    assert fault == "PROXY_REDIS_PASSWORD_FILE: REDIS_URL is not set, so that it would do nothing; set both or none"
    (fault,) = faults({"PROXY_REDIS_PASSWORD_FILE": str(tmp_path / "p"), "REDIS_URL": "nonsense"})
    assert fault.startswith("REDIS_URL: ")


def test_no_credential_is_for_all_namespaces() -> None:
    (fault,) = faults({"PROXY_HUB_CREDENTIALS": '[{"name": "a", "namespaces": ["*"], "api_key": "s3cr3t"}]'})
    assert "PROXY_HUB_CREDENTIALS: a is for the namespaces that it names; OXEN_API_KEY serves all others" in fault
    assert "s3cr3t" not in fault


def test_what_is_masked_does_not_go_by_what_a_type_is_called(file: Path) -> None:
    file.write_text("[hub]\napi_key = 8675309\n")
    (fault,) = faults({}, str(file))
    assert fault == f"[hub] api_key: {MASK} is not allowed; allowed: visible ASCII characters without spaces"
    assert [is_secret(hint) for hint in (Secret, Token, Token | None, tuple[Token | None, ...])] == [True] * 4
    assert not is_secret(Literal["Secret"])
    masked = {field.variable for field in fields() if is_secret(field.type)}
    assert masked == {"OXEN_API_KEY", "REDIS_URL", "PROXY_JWT_KEY", "PROXY_ADMIN_KEY", "PROXY_STATUS_KEY"}


@pytest.mark.parametrize("name", sorted({regular_name(*place) for place in FIXED_NAMES} - set(FIXED_NAMES.values())))
def test_a_variable_with_a_name_of_its_own_is_hinted_at_by_what_it_would_be_called(name: str) -> None:
    meant = next(fixed for place, fixed in FIXED_NAMES.items() if regular_name(*place) == name)
    assert load({name: "x"}).warnings == [f"{name}: not a setting, ignored (did you mean {meant}?)"]


def test_what_may_explain_a_fault_is_said_with_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"PROXY_HUB_API_KEY": "x"}, None, require_credential)
    assert caught.value.warnings == ["PROXY_HUB_API_KEY: not a setting, ignored (did you mean OXEN_API_KEY?)"]


def test_a_host_has_no_brackets() -> None:
    (fault,) = faults({"PROXY_HOST": "[::1]"})
    assert fault.startswith("PROXY_HOST: '[::1]' has brackets, which belong into URLs; allowed: an address (::1, say,")


SHA = f"sha256:{64 * 'a'}"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PROXY_AUTH_CALLERS", "{}", ["callers is not a list"]),
        ("PROXY_AUTH_CALLERS", "[1]", ["callers[0] is not a table"]),
        (
            "PROXY_AUTH_CALLERS",
            json.dumps([{"name": "a b", "keys": [SHA, "s3cr3t"], "s3cr3t": 1}, {}]),
            [
                "callers[0] has an unknown field; known are name, keys, namespaces, unnamed, rate, burst",
                "callers[0].keys[1] is not sha256: and 64 hex digits, as `generations-proxy key` prints",
                "callers[0].name is not 1 to 64 ASCII letters, digits and _.@-, the first a letter or a digit",
                "callers[1] lacks keys",
                "callers[1] lacks name",
            ],
        ),
        (
            "PROXY_AUTH_CALLERS",
            '[{"name": "a", "keys": [], "namespaces": ["ox", ""], "unnamed": 1, "rate": -1}]',
            [
                "callers[0].namespaces[1] is not a text of 1 to 255 characters",
                "callers[0].rate is not a number from 0 to 1000000",
                "callers[0].unnamed is not true or false",
            ],
        ),
        (
            "PROXY_HUB_CREDENTIALS",
            '[{"name": "a", "namespaces": [], "api_key": 5}]',
            [
                "credentials[0].api_key is not visible ASCII characters without spaces",
                "credentials[0].namespaces is not a list of at least one namespace",
            ],
        ),
        ("PROXY_CORS_ORIGINS", "https://a.example, s3cr3t", ["origins[1] is not an origin"]),
    ],
)
def test_faults_of_tables_are_said_in_words_and_all_at_once(variable: str, value: str, said: list[str]) -> None:
    (fault,) = faults({variable: value})
    text, _, allowed = fault.removeprefix(f"{variable}: ").partition("; allowed: ")
    assert sorted(text.split("; ")) == sorted("; ".join(said).split("; "))
    assert allowed
    assert "s3cr3t" not in fault


def test_unknown_variables_are_warned_of() -> None:
    loaded = load({"PROXY_CACHE_SETLED_TTL": "1", "PROXY_SERVICE_HOST": "10.0.0.1", "PATH": "/bin"})
    assert loaded.settings == Settings()
    assert loaded.warnings == [
        "PROXY_CACHE_SETLED_TTL: not a setting, ignored (did you mean PROXY_CACHE_SETTLED_TTL?)",
        "PROXY_SERVICE_HOST: not a setting, ignored",
    ]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"PROXY_LOG_FORMAT": "x"}, ["PROXY_LOG_FORMAT", "OXEN_API_KEY", "PROXY_HOST"]),
        ({"OXEN_API_KEY": "two words", "PROXY_AUTH_CALLERS": "x"}, ["OXEN_API_KEY", "PROXY_AUTH_CALLERS"]),
        ({"OXEN_API_KEY_FILE": "/nowhere"}, ["OXEN_API_KEY_FILE", "PROXY_HOST"]),
        ({"OXEN_API_KEY": "x", "PROXY_AUTH_ALLOW_ANONYMOUS": "yes"}, ["PROXY_AUTH_ALLOW_ANONYMOUS"]),
        ({"PROXY_CONFIG": "/nowhere"}, ["PROXY_CONFIG"]),
    ],
)
def test_what_serving_needs_is_missed_with_the_other_faults(given: dict[str, str], names: list[str]) -> None:
    """And of what is set and faulty it is not said besides that it is not set."""
    with pytest.raises(SettingsError) as caught:
        load({"PROXY_HOST": "0.0.0.0", **given}, None, *TO_SERVE)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == names


def test_a_token_is_required() -> None:
    with pytest.raises(SettingsError, match="OXEN_API_KEY"):
        load({}, None, require_credential)
    load({"OXEN_API_KEY": "x"}, None, require_credential)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "proxy.example", "128.0.0.1"])
def test_it_listens_beyond_loopback_only_if_told_in_so_many_words(host: str) -> None:
    with pytest.raises(SettingsError, match="PROXY_AUTH_ALLOW_ANONYMOUS=true"):
        load({"PROXY_HOST": host}, None, require_safe_address)
    load({"PROXY_HOST": host, "PROXY_AUTH_ALLOW_ANONYMOUS": "true"}, None, require_safe_address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_safe_without_callers(host: str) -> None:
    assert is_loopback(host)
    load({"PROXY_HOST": host}, None, require_safe_address)


def test_secrets_are_masked_in_the_settings() -> None:
    settings = load({"OXEN_API_KEY": "s3cr3t", "REDIS_URL": "redis://:s3cr3t@redis.test"}).settings
    assert "s3cr3t" not in repr(settings)
    assert settings.hub.api_key == Secret("s3cr3t")


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service"),
    [
        ("redis://h?socket_timeout=5", "server", (), ""),
        ("rediss://[::1]:7000/2?ssl_ca_certs=/etc/ca.pem", "server", (), ""),
        ("unix://:pw@/run/redis.sock?db=2", "server", (), ""),
        ("redis+sentinel://h1,h2:7000/mymaster", "sentinel", (("h1", 26379), ("h2", 7000)), "mymaster"),
        ("rediss+sentinel://u:p%40@[::1]/a%20b/3?sentinel_password=x", "sentinel", (("::1", 26379),), "a b"),
        ("redis+cluster://:pw@h1,h2:7001", "cluster", (("h1", 6379), ("h2", 7001)), ""),
        ("rediss+cluster://h/?ssl_check_hostname=no", "cluster", (("h", 6379),), ""),
    ],
)
def test_every_kind_of_redis_url_is_read(url: str, kind: str, hosts: tuple[tuple[str, int], ...], service: str) -> None:
    assert load({"REDIS_URL": url}).settings.redis.url == Secret(url)
    at = read_address(Secret(url))
    assert (at.kind, at.hosts, at.service) == (kind, hosts, service)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h1,h2",
        "redis://h1:1,h2:2",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/mymaster",
        "redis://h?unknown_option=1",
        "redis://h?db=first",
        "redis://[::1",
        "unix://",
        "redis+sentinel://h1,h2",
        "redis+sentinel://h1,h2/",
        "redis+sentinel:///mymaster",
        "redis+sentinel://h1,,h2/mymaster",
        "redis+sentinel://h1:port/mymaster",
        "redis+sentinel://h1/mymaster/first",
        "redis+sentinel://h1/mymaster/0/1",
        "redis+sentinel://h1/mymaster?unknown_option=1",
        "redis+sentinels://h1/mymaster",
        "redis+cluster://",
        "redis+cluster://h1,",
        "redis+cluster://h1:0,h2",
        "redis+cluster://h1,h2/0",
        "redis+cluster://h1,h2?db=1",
        "redis+cluster://h1,h2?unknown_option=1",
        "rediss+cluster://h1?ssl_cert_reqs=perhaps",
        "unix+cluster:///path",
    ],
)
def test_a_redis_url_that_no_client_can_be_made_of(url: str) -> None:
    (fault,) = faults({"REDIS_URL": url})
    assert fault.startswith("REDIS_URL: ")


@pytest.mark.parametrize(
    "url", ["redis://:pw@h/0", "rediss://h", "redis+cluster://h1,h2", "redis+sentinel://h/mymaster"]
)
@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("max_connections=1", "PROXY_REDIS_CONNECTIONS"),
        ("max_connections=100", "PROXY_REDIS_CONNECTIONS"),
        ("encoding=utf-16", "UTF-8"),
        ("encoding_errors=ignore", "UTF-8"),
    ],
)
def test_an_option_of_the_redis_url_that_is_the_proxys_own(url: str, option: str, instead: str) -> None:
    """One connection at the most is that of the news, and leaves none for anything else."""
    (fault,) = faults({"REDIS_URL": f"{url}?client_name=web&{option}"})
    name = option.partition("=")[0]
    assert fault.startswith(f"REDIS_URL: its option {name} is to be left out: ")
    assert instead in fault
    assert "pw" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cr3t",
        "redis://:s3cr3t@h:s3cr3t",
        "redis://:s3cr3t\u2100@h",
        "redis+sentinel://:s3cr3t@h1,h2",
        "redis+sentinel://h1/mymaster?sentinel_password=s3cr3t&db=s3cr3t",
        "redis+cluster://user:s3cr3t,h2",
        "redis+cluster://:s3cr3t@h1?db=1",
        "redis+cluster://:s3cr3t@h1?unknown_option=s3cr3t",
    ],
)
def test_faults_of_a_redis_url_show_no_password(url: str) -> None:
    assert "s3cr3t" not in str(faults({"REDIS_URL": url}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://redis:6379/0", "redis://:s%40cr%2Ft@redis:6379/0"),
        ("redis://web@redis/0", "redis://web:s%40cr%2Ft@redis/0"),
        ("rediss+cluster://a:1,b:2", "rediss+cluster://:s%40cr%2Ft@a:1,b:2"),
        ("redis+sentinel://a,b/mymaster/1", "redis+sentinel://:s%40cr%2Ft@a,b/mymaster/1"),
        ("unix:///run/redis.sock", "unix://:s%40cr%2Ft@/run/redis.sock"),
        ("unix:///run/redis@main.sock", "unix://:s%40cr%2Ft@/run/redis@main.sock"),
        ("redis://redis:6379/0?client_name=a@b", "redis://:s%40cr%2Ft@redis:6379/0?client_name=a@b"),
        ("redis://web@redis?client_name=a@b", "redis://web:s%40cr%2Ft@redis?client_name=a@b"),
        (
            "rediss+cluster://a:1,b:2?ssl_ca_certs=/etc/tls@2/ca.pem",
            "rediss+cluster://:s%40cr%2Ft@a:1,b:2?ssl_ca_certs=/etc/tls@2/ca.pem",
        ),
    ],
)
def test_a_redis_password_from_a_file_goes_into_the_url(tmp_path: Path, url: str, expected: str) -> None:
    file = tmp_path / "password"
    file.write_text("s@cr/t\n")
    loaded = load({"REDIS_URL": url, "PROXY_REDIS_PASSWORD_FILE": str(file)}).settings
    assert loaded.redis.url == Secret(expected)
    check_redis_url(loaded.redis.url)
    assert "s@cr" not in repr(loaded)
    assert "s%40cr" not in repr(loaded)


@pytest.mark.parametrize(
    ("content", "url", "fault"),
    [
        (None, "redis://redis", "cannot read"),
        (b"", "redis://redis", "holds no password: it has 0 characters"),
        (b"\xff", "redis://redis", "it is not text"),
        (b"one", "redis://:two@redis", "the URL holds a password too"),
        (b"one", "unix://:two@/run/redis@main.sock", "the URL holds a password too"),
    ],
)
def test_a_redis_password_that_cannot_be_used_is_a_fault_that_does_not_show_it(
    tmp_path: Path, content: bytes | None, url: str, fault: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load({"REDIS_URL": url, "PROXY_REDIS_PASSWORD_FILE": str(file)})
    assert any(one.startswith("PROXY_REDIS_PASSWORD_FILE: ") and fault in one for one in caught.value.faults)
    assert not any("two" in one for one in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *itertools.product(("PROXY_AUTH_ALLOW_ANONYMOUS", "PROXY_CACHE_COMPOSE"), ("1", "0", "yes")),
        *itertools.product(("PROXY_HUB_CONCURRENCY", "PROXY_WORKERS"), ("1e2", "1.0", " 2", "2_0")),
    ],
)
def test_what_is_allowed_is_all_that_is_taken(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: .* is not allowed"):
        load({name: value})


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_true_may_be_spelled_in_any_case(value: str) -> None:
    assert load({"PROXY_AUTH_ALLOW_ANONYMOUS": value}).settings.auth.allow_anonymous


def test_all_faults_of_a_list_are_told_and_no_secret() -> None:
    callers = [
        {"name": "x", "keys": ["nokey-1"], "namespaces": ["a"]},
        {"name": "!", "keys": ["nokey-2"], "namespaces": 5, "rate": -3},
        {"name": "y", "secret-1": 1},
        7,
    ]
    with pytest.raises(SettingsError) as caught:
        load({"PROXY_AUTH_CALLERS": json.dumps(callers), "PROXY_CORS_ORIGINS": "null,*,HTTP://x"})
    told = {fault.partition(":")[0]: fault for fault in caught.value.faults}
    places = ["[0].keys[0]", "[1].name", "[1].keys[0]", "[1].namespaces", "[1].rate", "[2]", "[3]"]
    assert [place for place in places if f"callers{place} " not in told["PROXY_AUTH_CALLERS"]] == []
    assert [place for place in ("[0]", "[1]", "[2]") if f"origins{place} " not in told["PROXY_CORS_ORIGINS"]] == []
    assert not any(secret in str(told) for secret in ("nokey", "secret-1"))
