"""The manifests and config files in deploy/, checked by the schemas of Kubernetes and of Ray Serve."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.paths import ROOT

from inkhorn.cli import serve
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.ray_serve.options import parse_options
from inkhorn.server.settings import ServerConfig

KUBERNETES = ROOT / "deploy/kubernetes"
VERSION = "1.34"
"""of the Kubernetes API"""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def resource(kind: str) -> dict[str, Any]:
    [found] = [
        each for name in kustomization()["resources"] for each in documents(KUBERNETES / name) if each["kind"] == kind
    ]
    return found


def kustomization() -> dict[str, Any]:
    return documents(KUBERNETES / "kustomization.yaml")[0]


def container() -> dict[str, Any]:
    [found] = resource("Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def core_resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in kustomization()["resources"]:
        for each in documents(KUBERNETES / name):
            yield each["kind"], each
    [ray] = documents(KUBERNETES / "ray-service.yaml")
    cluster = ray["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        template = {
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": "ray"},
            "template": group["template"],
        }
        yield "RayService", template


@pytest.mark.parametrize(("kind", "manifest"), list(core_resources()))
def test_core_resources_have_no_unknown_or_invalid_field(kind: str, manifest: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validator.validate(manifest, VERSION, strict=True)
    broken = manifest | {"spec": {**manifest.get("spec", {}), "replica": 3}, "unknown": {}}
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, VERSION, strict=True)


def test_kustomization_lists_every_file_of_core_resources() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "ray-service.yaml"}
    assert set(kustomization()["resources"]) == files
    assert [image["name"] for image in kustomization()["images"]] == [container()["image"]]


def test_selectors_find_the_pods() -> None:
    labels = resource("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert resource("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert resource("Service")["spec"]["selector"] == labels
    assert resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert (
        resource("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"]
        == resource("Deployment")["metadata"]["name"]
    )


def test_flags_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[ServerConfig] = []
    monkeypatch.setattr("inkhorn.server.run.serve", configs.append)
    serve.run(container()["args"])
    [config] = configs
    resources = container()["resources"]
    cpus = float(resources["limits"]["cpu"])
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"], (
        "a pod without a guaranteed share has slow threads"
    )
    assert math.floor(cpus) == cpus == config.threads
    seconds = resource("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert seconds > config.shutdown_timeout + container()["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_probes_and_ports_exist() -> None:
    registry = ModelRegistry.load(ServerConfig(max_num_seqs=1))
    paths = set(create_app(registry).openapi()["paths"])
    registry.close()
    probes = [container()[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    annotations = resource("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert {probe["path"] for probe in probes} | {annotations["prometheus.io/path"]} <= paths
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {probe["port"] for probe in probes} == set(ports) == {resource("Service")["spec"]["ports"][0]["targetPort"]}
    assert str(ports["http"]) == annotations["prometheus.io/port"]
    assert ports["http"] == ServerConfig.port


def test_pods_are_unprivileged_and_keys_are_secret() -> None:
    for _, manifest in core_resources():
        template = manifest.get("template") or manifest["spec"].get("template")
        if template is None:
            continue
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for each in pod["containers"]:
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert [source["secretRef"]["name"] for source in each["envFrom"]] == ["inkhorn-api-keys"]
            assert set(each["resources"]["requests"]) == set(each["resources"]["limits"]) == {"cpu", "memory"}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    uid = resource("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"useradd --uid {uid} " in dockerfile


def test_autoscaler_reads_a_metric_of_the_server() -> None:
    [metric] = resource("HorizontalPodAutoscaler")["spec"]["metrics"]
    registry = ModelRegistry.load(ServerConfig(max_num_seqs=1))
    page = create_app(registry).state.context.metrics.render().decode()
    registry.close()
    assert f"\n{metric['pods']['metric']['name'].replace('inkhorn_', 'inkhorn:')}{{" in page


def serve_config() -> dict[str, Any]:
    return documents(ROOT / "deploy/ray/serve.yaml")[0]


def test_serve_config_of_the_ray_service_is_the_same() -> None:
    [ray] = documents(KUBERNETES / "ray-service.yaml")
    assert yaml.safe_load(ray["spec"]["serveConfigV2"]) == serve_config()


def test_serve_config_has_valid_arguments() -> None:
    [application] = serve_config()["applications"]
    config, options = parse_options(application["args"])
    assert config.models == ("shakespeare",)
    assert options.max_replicas > options.min_replicas
    assert application["import_path"] == "inkhorn.server.ray_serve.application:build"


@pytest.mark.ray
def test_serve_config_fits_ray_s_schema() -> None:
    schema = pytest.importorskip("ray.serve.schema", reason="ray is not installed").ServeDeploySchema
    assert schema.model_validate(serve_config()).applications[0].name == "inkhorn"
    with pytest.raises(ValueError, match="import_pth"):
        schema.model_validate({"applications": [{"name": "a", "import_pth": "b"}]})
