"""The repository's shape: which way imports run, what is documented, and what must not be committed."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from proxy import errors
from proxy.fields import fields
from proxy.outcome import Hit, Miss
from proxy.pages import PATIENCE
from tests.support import ROOT

PACKAGE = ROOT / "proxy"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
README = (ROOT / "README.md").read_text()

LAYERS = [  # from the bottom up: a module imports from lines below its own only
    [
        "secret",
        "contract",
        "errors",
        "detached",
        "retry_after",
        "log_format",
        "record",
        "gate",
        "quota",
        "sse",
        "encodings",
    ],
    ["tracing", "siblings", "terminal", "second_chance", "logs"],
    ["links", "settings", "query", "redis_client", "landings", "renewal"],
    ["fields", "redis_password", "redis_scripts"],
    ["hub_faults"],
    ["credential", "question", "flight", "redis_link", "callers", "envelope"],
    ["page", "completion", "demand", "bids", "gate_errors"],
    ["keys", "freshness", "hub", "outcome", "purges", "stored", "limiter", "rows", "doubts", "entry"],
    ["listing"],
    ["listings", "composing", "windows", "stored_rows"],
    ["kept"],
    ["jwks", "memory", "directives", "shared", "ahead", "hub_stream"],
    ["known_rows", "purging", "leases"],
    ["shared_variants"],
    ["tokens", "encoder"],
    ["setting_faults"],
    ["config"],
    ["news", "untold", "shared_gate", "shared_log", "shared_status"],
    ["trust", "turns"],
    ["judging"],
    ["knowledge", "shield", "event_log"],
    ["claim"],
    ["fetch", "hearing"],
    ["line"],
    ["at_hand"],
    ["pages", "subscription"],
    ["owners"],
    ["feed"],
    ["events"],
    ["web.reading", "web.telemetry", "web.answers", "web.recollection", "web.request_ids", "web.families"],
    [
        "web.problems",
        "web.health",
        "web.admin",
        "web.authentication",
        "web.cors",
        "web.limits",
        "web.tallies",
        "web.heard",
    ],
    ["web.openapi", "web.edge", "web.express", "web.state_metrics", "web.request_metrics"],
    ["web.spans", "web.metrics", "web.page_files", "web.samples"],
    ["web.status"],
    ["web.asking", "web.observing", "web.wire"],
    ["web.protocol"],
    ["web.routes", "web.events"],
    ["app", "sockets"],
    ["serve", "check", "demo"],
    ["cli"],
    ["__main__"],
]
SIMULATOR_LAYERS = [
    ["parameters"],
    ["world"],
    ["wire", "faults", "journal"],
    ["sending", "events"],
    ["streaming", "results"],
    ["app"],
    ["control"],
]
FOREIGN = {  # who may import a library, and why
    "litestar": {"app", "web"},
    "httpx": {"hub", "hub_faults", "hub_stream", "jwks", "demo"},  # the demo plays callers
    "jwt": {"tokens", "keys"},
    "redis": {"redis_client", "redis_link", "redis_scripts", "news"},
    "hiredis": {"redis_scripts"},
    "uvicorn": {"serve", "sockets", "web"},
    "click": {"cli", "terminal"},
    "zstandard": {"stored", "encodings"},
    "prometheus_client": {"web"},
    "opentelemetry": {"web"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Full names of all modules imported anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrows"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_layer() -> None:
    outside = {name_of(path) for path in MODULES if not name_of(path).startswith("simulator")}
    assert outside == {name for layer in LAYERS for name in layer}
    inside = {name_of(path).removeprefix("simulator.") for path in MODULES if name_of(path).startswith("simulator")}
    assert inside == {name for layer in SIMULATOR_LAYERS for name in layer}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    name = name_of(path)
    layers = SIMULATOR_LAYERS if name.startswith("simulator.") else LAYERS
    prefix = "proxy.simulator." if name.startswith("simulator.") else "proxy."
    rank = {prefix + module: number for number, layer in enumerate(layers) for module in layer}
    for other in imports(path) & set(rank):
        assert rank[other] < rank[f"proxy.{name}"], f"{name} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_are_known_in_few_places(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(path)}
    top = name_of(path).split(".")[0]
    for library, allowed in FOREIGN.items():
        assert library not in used or top in allowed, f"{name_of(path)} imports {library}"


def test_the_simulator_and_the_proxy_know_nothing_of_each_other() -> None:
    for path in MODULES:
        used = {module for module in imports(path) if module.startswith("proxy.")}
        if name_of(path).startswith("simulator"):
            assert all(module.startswith("proxy.simulator") for module in used), path
        elif name_of(path) not in ("demo", "cli"):
            assert not any(module.startswith("proxy.simulator") for module in used), path


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 250


def test_every_setting_is_documented() -> None:
    rows = {}
    for line in README.splitlines():
        if found := re.match(r"\| `([A-Z_]+)` \| `\[(\w+)\] (\w+)` \| (.*?) \| (.*?) \|", line):
            rows[found[1]] = (found[2], found[3], found[4].strip("`"), found[5])
    for field in fields():
        default = (
            ""
            if field.default in (None, ())
            else str(field.default).lower()
            if isinstance(field.default, bool)
            else str(field.default)
        )
        if isinstance(field.default, float):
            default = f"{field.default:g}"
        assert rows.pop(field.variable, None) == (field.section, field.name, default, field.allowed), field.variable
    assert not rows, "documented, but no setting"


def test_every_error_type_is_documented() -> None:
    kinds: list[type[errors.ProxyError]] = [
        errors.ProxyError,
        errors.InvalidParameter,
        errors.MomentGone,
        errors.NotCached,
        errors.Unauthorized,
        errors.Forbidden,
        errors.TooManyRequests,
        errors.TooManyListeners,
        errors.BadPurge,
        *errors.Forwarded.__subclasses__(),
        *errors.HubError.__subclasses__(),
    ]
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", README, re.MULTILINE))
    framework = {"method_not_allowed": "405", "bad_request": "400"}
    framework |= {"uri_too_long": "414", "headers_too_large": "431", "request_timeout": "408"}
    assert documented == {kind.type: str(kind.status) for kind in kinds} | framework
    for kind in errors.HubError.__subclasses__():
        assert f"{kind.__name__} " in (errors.__doc__ or ""), "the tree is drawn in full"
        assert f"{kind.status} {kind.type}" in (errors.__doc__ or "")


def test_every_fault_names_its_test() -> None:
    table = README.partition("## When things fail")[2].partition("\n\nReplicas' clocks")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    defined = set(re.findall(r"def (test_\w+)", "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))))
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(test_\w+)` \|$", row)
        assert named, row
        assert set(named) <= defined, row


def test_every_cache_status_is_documented() -> None:
    """What the types of outcomes allow, in the README's table: neither more nor less."""
    table = "\n".join(re.findall(r"^\| `((?:hit|fwd|…|detail)[^`]*)`", README, re.MULTILINE))
    found = {name: set(re.findall(rf"\b{name}=([a-z-]+\w*)", table)) for name in ("detail", "fwd")}
    stale = {f"stale-{reason}" for reason in (PATIENCE, "allowed", errors.HubTimeout.type)}
    own = {errors.HubFailed.type, errors.InvalidParameter.type}
    assert found["detail"] == {*get_args(get_type_hints(Hit)["source"]), *stale, *own}
    assert found["fwd"] == {*get_args(get_type_hints(Miss)["forward"]), "miss"}
    assert "; stored" in table
    assert "; collapsed" in table


def test_every_dependency_has_its_reason() -> None:
    block = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    for dependency in re.findall(r'"([a-z-]+)', block[1]):
        assert re.search(rf"^- `{dependency}`: ", README, re.MULTILINE), dependency


def test_every_module_is_in_the_architecture() -> None:
    for path in MODULES:
        assert re.search(rf"(?<![\w.]){re.escape(path.name)}", README), (
            f"{path.name} has no line in the README's architecture section"
        )


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_top_level_is_as_set() -> None:
    allowed = {"pyproject.toml", "README.md", "proxy", "tests", "docker-compose.yml", "Dockerfile", "deploy"}
    allowed |= {"requirements.lock", "CHANGELOG.md", "LICENSE"}
    top = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {name for name in top if not name.startswith(".")} <= allowed


def test_nothing_of_a_registry_or_a_machine_is_committed() -> None:
    hosts = re.compile(
        r"p[y]pi\.org|python[h]osted|registry\.np[m]js|deb\.d[e]bian|(^|[^\w.])/(w[o]rk|f[a]rm)/", re.MULTILINE
    )
    for path in tracked():
        assert not hosts.search(path.read_text(errors="replace")), path


def test_suppressions_give_a_reason() -> None:
    for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]:
        for line in path.read_text().splitlines():
            if found := re.search(r"# (?:noqa|type: ignore)(?:: ?[A-Z0-9, ]+|\[[\w, -]+\])(.*)", line):
                assert found[1].strip() or "tests" in path.parts, f"{path.name}: {line.strip()}"
