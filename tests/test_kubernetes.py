"""The manifests of ``deploy/kubernetes``: schemas, what refers to what, and that the proxy takes their settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.app import SHUTDOWN_TIMEOUT
from proxy.config.faults import TO_SERVE
from proxy.config.fields import fields
from proxy.config.sources import load
from proxy.settings import ServerSettings
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.33")
"""The oldest release that HPA's ContainerResource is stable in, and a later one."""
NAME = "app.kubernetes.io/name"


def manifests() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}: {one['kind']} {one['metadata']['name']}", one)
        for path in sorted(FOLDER.glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
    ]


ALL = [one for _, one in manifests()]


def of(kind: str, name: str = "generations-proxy") -> dict[str, Any]:
    (found,) = [one for one in ALL if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pod(name: str = "generations-proxy") -> dict[str, Any]:
    spec: dict[str, Any] = of("Deployment", name)["spec"]["template"]["spec"]
    return spec


def container(name: str = "generations-proxy") -> dict[str, Any]:
    (one,) = pod(name)["containers"]
    found: dict[str, Any] = one
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL, ids=[what for what, _ in manifests()])
def test_every_manifest_keeps_to_its_schema(manifest: dict[str, Any], version: str) -> None:
    try:
        import kubernetes_validate  # noqa: PLC0415
    except ImportError:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("pip install -e '.[dev]'")
    kubernetes_validate.validate(manifest, version, strict=True)


def test_what_is_selected_is_there() -> None:
    pods = {one["spec"]["template"]["metadata"]["labels"][NAME] for one in ALL if one["kind"] == "Deployment"}
    for one in ALL:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Deployment" | "PodDisruptionBudget":
                assert spec["selector"]["matchLabels"][NAME] in pods
            case "Service":
                assert spec["selector"][NAME] in pods
                assert spec["ports"][0]["targetPort"] in {
                    port["name"] for port in container(spec["selector"][NAME])["ports"]
                }
            case "NetworkPolicy":
                assert spec["podSelector"]["matchLabels"][NAME] in pods
                assert spec["policyTypes"] == ["Ingress", "Egress"]
            case "HorizontalPodAutoscaler":
                assert of("Deployment", spec["scaleTargetRef"]["name"])
                assert spec["metrics"][0]["containerResource"]["container"] == container()["name"]
                assert "replicas" not in of("Deployment")["spec"], "two would decide"


@pytest.mark.parametrize("name", ["generations-proxy", "generations-proxy-redis"])
def test_volumes_and_secrets_are_there(name: str) -> None:
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == set(volumes)
    assert of("ConfigMap", volumes["config"]["configMap"]["name"])
    secret = of("Secret", volumes["secrets"]["secret"]["secretName"])["stringData"]
    used = {item["key"] for item in volumes["secrets"]["secret"].get("items", [])}
    used |= {one["valueFrom"]["secretKeyRef"]["key"] for one in container(name)["env"] if "valueFrom" in one}
    assert used <= set(secret)


@pytest.mark.parametrize("name", ["generations-proxy", "generations-proxy-redis"])
def test_no_container_may_do_more_than_it_needs(name: str) -> None:
    inside, outside = container(name)["securityContext"], pod(name)["securityContext"]
    assert inside["readOnlyRootFilesystem"]
    assert not inside["allowPrivilegeEscalation"]
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert outside["runAsNonRoot"]
    assert outside["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod(name)["automountServiceAccountToken"]
    assert f"USER {pod()['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()


def test_the_drain_has_its_time() -> None:
    server = ServerSettings()
    sleep = float(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = sleep + server.drain_delay + server.shutdown_timeout + SHUTDOWN_TIMEOUT
    assert pod()["terminationGracePeriodSeconds"] > needed


def test_the_proxy_takes_these_settings(tmp_path: Path) -> None:
    """With the files where the pod has them: there is no fault, and no warning."""
    folder = str(tmp_path)
    secret = of("Secret")["stringData"]
    for name, text in secret.items():
        (tmp_path / name).write_text(text)
    config = of("ConfigMap")["data"]["proxy.toml"].replace("/run/secrets/generations-proxy", folder)
    (tmp_path / "proxy.toml").write_text(config)
    environ = {
        one["name"]: one["value"].replace("/run/secrets/generations-proxy", folder) for one in container()["env"]
    }
    assert set(environ) <= {field.variable for field in fields()} | {"PROXY_CONFIG"}
    environ["PROXY_CONFIG"] = f"{folder}/proxy.toml"
    loaded = load(environ, None, *TO_SERVE)
    assert not loaded.warnings
    assert loaded.settings.server.port == container()["ports"][0]["containerPort"]
    assert loaded.settings.redis.url is not None
    assert of("Service", "generations-proxy-redis")["metadata"]["name"] in loaded.settings.redis.url.reveal()
    assert secret["redis_password"] in loaded.settings.redis.url.reveal()


def test_redis_is_the_same_as_with_compose() -> None:
    data = of("ConfigMap", "generations-proxy-redis")["data"]
    for name in ("redis.conf", "start.sh"):
        assert data[name] == (ROOT / "deploy" / "redis" / name).read_text()


def test_no_secret_is_applied_with_the_others() -> None:
    """``kubectl apply -f`` of the folder would; so the README names the files."""
    assert [path.name for path in FOLDER.glob("*.yaml") if "kind: Secret" in path.read_text()] == [
        "secret.example.yaml"
    ]
    named = (ROOT / "README.md").read_text()
    for path in FOLDER.glob("*.yaml"):
        assert (f"-f {path.name}" in named) == (path.name != "secret.example.yaml")
