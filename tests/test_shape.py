"""The repository's shape: which way imports run, what is documented, and what must not be committed."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from proxy import errors, hub
from proxy.answer.outcome import Hit, Miss
from proxy.config.fields import fields
from proxy.pages import PATIENCE
from tests.fleet import Replica
from tests.support import ROOT

PACKAGE = ROOT / "proxy"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
README = (ROOT / "README.md").read_text()

LAYERS = [  # packages, and modules outside of them, from the bottom up: each imports from lines below its own only
    ["causes", "clock", "contract", "errors", "log_format", "log_throttle", "secret", "secret_file", "text_cache"],
    ["siblings", "tracing"],
    ["redis_keys", "setting_types"],
    ["logs", "questions", "settings", "tasks"],
    ["answer", "hub"],
    ["rows"],
    ["redis"],
    ["admission", "callers", "known"],
    ["refresh_ahead", "config", "upstream"],
    ["memory_hits", "fetch"],
    ["fetch_queue"],
    ["lookups"],
    ["pages"],
    ["events"],
    ["core"],
    ["web.cors", "web.credentials", "web.handlers", "web.request_ids", "web.schemas", "web.state"],
    ["web.answers", "web.page_files"],
    ["web.admin", "web.authentication", "web.health", "web.hidden", "web.limits", "web.problems"],
    ["web.openapi", "web.telemetry"],
    ["web.edge", "web.express", "web.status"],
    ["web.asking", "web.observability", "web.protocol"],
    ["web.events", "web.routes"],
    ["app"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
FOREIGN = {  # who may import a library
    "litestar": {"app", "web"},
    "httptools": {"hub.connection"},
    "httpx": {"hub", "callers.jwks", "commands.demo"},  # the demo plays callers
    "jwt": {"callers.tokens", "callers.keys"},
    "redis": {"redis"},
    "hiredis": {"redis.scripts"},
    "uvicorn": {"commands", "web"},
    "click": {"cli", "commands.terminal"},
    "zstandard": {"redis.stored", "answer.encodings"},
    "prometheus_client": {"web.telemetry"},
    "opentelemetry": {"web.telemetry"},
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


def layer_of(name: str) -> str:
    """The package that a module is of; itself, if it stands in the open."""
    package = name.rpartition(".")[0]
    return name if package in ("", "web") else package


def test_every_package_has_its_layer() -> None:
    found = {layer_of(name_of(path)) for path in MODULES}
    assert found == {name for layer in LAYERS for name in layer} | {"simulator"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer} | {"simulator": -1}
    here = layer_of(name_of(path))
    for other in imports(path) & {f"proxy.{name_of(module)}" for module in MODULES}:
        there = layer_of(other.removeprefix("proxy."))
        assert there == here or rank[there] < rank[here], f"{name_of(path)} imports {other}"


def test_no_imports_run_in_circles() -> None:
    names = {f"proxy.{name_of(path)}": path for path in MODULES}
    graphlib.TopologicalSorter({name: imports(path) & set(names) for name, path in names.items()}).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_libraries_are_known_in_few_places(path: Path) -> None:
    used = {module.split(".")[0] for module in imports(path)}
    name = name_of(path)
    for library, allowed in FOREIGN.items():
        known = any(name == place or name.startswith(f"{place}.") for place in allowed)
        assert library not in used or known, f"{name} imports {library}"


def test_the_simulator_and_the_proxy_know_nothing_of_each_other() -> None:
    for path in MODULES:
        used = {module for module in imports(path) if module.startswith("proxy.")}
        if name_of(path).startswith("simulator"):
            assert all(module.startswith("proxy.simulator") for module in used), path
        elif name_of(path) not in ("commands.demo", "cli"):
            assert not any(module.startswith("proxy.simulator") for module in used), path


def test_what_test_modules_share_is_in_none_of_them() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        assert "\nfrom tests.test_" not in path.read_text(), path


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


def test_every_fact_of_the_hub_that_is_cited_is_written_down() -> None:
    facts = set(re.findall(r"^(\w[\w ]*)\n    ", hub.__doc__ or "", re.MULTILINE))
    cited = {
        " ".join(name.split())
        for path in MODULES
        for name in re.findall(r"hub\s+facts:\s+([\w\s]+?)[;).]", path.read_text())
    }
    assert {"rows", "events"} <= cited
    assert cited <= facts
    assert "hub facts" not in re.sub(r"hub\s+facts:", "", "".join(path.read_text() for path in MODULES)), "which one?"


def test_every_error_type_is_documented() -> None:
    kinds: list[type[errors.ProxyError]] = [
        errors.ProxyError,
        errors.InvalidParameter,
        errors.MomentGone,
        errors.NotCached,
        errors.Unauthorized,
        errors.KeysUnavailable,
        errors.Forbidden,
        errors.TooManyRequests,
        errors.TooManyListeners,
        errors.TooManyLookups,
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
    tree = README.partition("## Architecture")[2].partition("\n    tests/ ")[0]
    entries = dict(re.findall(r"^      (\w+(?:/\w+)*/) +(\S.*?)(?=^      [\w(]|\Z)", tree, re.MULTILINE | re.DOTALL))
    for path in MODULES:
        folder = "/".join(path.relative_to(PACKAGE).parts[:-1])
        text = entries[f"{folder}/"] if folder else tree
        assert re.search(rf"(?<![\w./]){re.escape(path.name)}", text), f"{name_of(path)} is not in the README's tree"


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


def test_an_assert_that_fails_in_what_tests_share_says_its_values() -> None:
    never_started = Replica(hub="", settings={})
    with pytest.raises(AssertionError, match="assert None is not None"):
        never_started.signal(0)
