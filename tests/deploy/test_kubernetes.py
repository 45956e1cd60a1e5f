"""The manifests: what the Kubernetes API takes, and what this server needs of a cluster."""

import copy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from server.gate_config import read_settings
from server.instance import STOP_TIMEOUT
from server.settings import CONFIG, addresses, read_properties
from server.supervisor import DRAIN_TIMEOUT

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes"
VERSIONS = ("1.30.0", "1.37.0")  # of Kubernetes: the first with all that is used here, and the newest
OVERLAYS = ("overlays/cpu", "overlays/gpu")
KUSTOMIZATIONS = (*OVERLAYS, "monitoring", "kserve")
Manifest = dict[str, Any]

# The kinds that operators bring. No package carries their schemas, and theirs are forty thousand lines: this is what of
# them is used here, closed against names that do not exist. All three were held against the operators' own schemas by
# hand (KServe and the Prometheus operator as of August 2026).
TEXT, NUMBER, ANY = {"type": "string"}, {"type": "integer"}, {"type": "object"}


def closed(required: str, **properties: Any) -> Manifest:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def several(items: Manifest) -> Manifest:
    return {"type": "array", "items": items, "minItems": 1}


def kind(api: str, name: str, spec: Manifest) -> Manifest:
    return closed(
        "apiVersion kind metadata spec", apiVersion={"const": api}, kind={"const": name}, metadata=ANY, spec=spec
    )


OPERATORS = {
    "PodMonitor": kind(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        closed(
            "selector podMetricsEndpoints",
            selector=closed("matchLabels", matchLabels=ANY),
            podMetricsEndpoints=several(closed("port", port=TEXT, path=TEXT, interval=TEXT)),
        ),
    ),
    "ServingRuntime": kind(
        "serving.kserve.io/v1alpha1",
        "ServingRuntime",
        closed(
            "containers supportedModelFormats",
            annotations=ANY,
            supportedModelFormats=several(closed("name", name=TEXT, version=TEXT, autoSelect={"type": "boolean"})),
            protocolVersions=several({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            multiModel={"type": "boolean"},
            containers=several(ANY),  # held against the API's schema of a pod below
            volumes=several(ANY),
        ),
    ),
    "InferenceService": kind(
        "serving.kserve.io/v1beta1",
        "InferenceService",
        closed(
            "predictor",
            predictor=closed(
                "model",
                minReplicas=NUMBER,
                maxReplicas=NUMBER,
                scaleMetric={"enum": ["cpu", "memory", "concurrency", "rps"]},
                scaleTarget=NUMBER,
                terminationGracePeriodSeconds=NUMBER,
                automountServiceAccountToken={"type": "boolean"},
                securityContext=ANY,
                model=closed(
                    "modelFormat",
                    runtime=TEXT,
                    modelFormat=closed("name", name=TEXT, version=TEXT),
                    protocolVersion={"enum": ["v1", "v2", "grpc-v2"]},
                    storageUri=TEXT,
                ),
            ),
        ),
    ),
}


def check(manifest: Manifest, version: str = VERSIONS[-1]) -> None:
    """Raise where the API, or the operator's kind, does not take a manifest."""
    if manifest["kind"] in OPERATORS:
        jsonschema.validate(manifest, OPERATORS[manifest["kind"]])
        if manifest["kind"] == "ServingRuntime":
            names = ("containers", "volumes")
            check(pod({name: manifest["spec"][name] for name in names}), version)
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


def pod(spec: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def resources() -> list[Path]:
    """The files that hold whole manifests: neither patches nor kustomizations nor values of a chart."""
    listed = []
    for path in FOLDER.rglob("kustomization.yaml"):
        names = yaml.safe_load(path.read_text()).get("resources", [])
        listed += [path.parent / name for name in names if name.endswith(".yaml")]
    return sorted(listed)


@pytest.fixture(scope="module")
def rendered() -> Callable[[str], list[Manifest]]:
    """What kubectl makes of a kustomization."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl, which renders the kustomizations")
    kept: dict[str, list[Manifest]] = {}

    def render(name: str) -> list[Manifest]:
        if name not in kept:
            command = ["kubectl", "kustomize", str(FOLDER / name)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            kept[name] = list(yaml.safe_load_all(done.stdout))
        return copy.deepcopy(kept[name])

    return render


def one(manifests: list[Manifest], name: str) -> Manifest:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == name)
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    return one(manifests, "Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", resources(), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_each_file_is_what_the_api_takes(path):
    for manifest in yaml.safe_load_all(path.read_text()):
        check(manifest)


def test_every_file_is_used():
    used = set(resources())
    for path in FOLDER.rglob("kustomization.yaml"):
        read = yaml.safe_load(path.read_text())
        patches = [patch["path"] for patch in read.get("patches", []) if "path" in patch]
        used |= {path, *(path.parent / name for name in patches)}
    assert set(FOLDER.rglob("*.yaml")) - used == {FOLDER / "monitoring" / "adapter-values.yaml"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_what_is_rendered_is_what_the_api_takes(rendered, name, version):
    for manifest in rendered(name):
        check(manifest, version)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "imagetrust"


def test_models_from_a_volume(rendered, tmp_path):
    overlay = FOLDER / "overlays" / "cpu"
    for folder in ("base", "overlays", "model-volume"):
        shutil.copytree(FOLDER / folder, tmp_path / folder)
    path = tmp_path / overlay.relative_to(FOLDER) / "kustomization.yaml"
    path.write_text(path.read_text() + "components: [../../model-volume]\n")
    manifests = rendered(str(path.parent))
    for manifest in manifests:
        check(manifest)
    assert faults(manifests) == []
    (container,) = pod_of(manifests)["containers"]
    assert container["args"][-1] == "--set=model_store=/mnt/models"
    assert "/mnt/models" in [mount["mountPath"] for mount in container["volumeMounts"]]


def faults(manifests: list[Manifest]) -> list[str]:
    """What of the things that this server needs a rendered overlay does not give."""
    found = []
    deployment, spec = one(manifests, "Deployment"), pod_of(manifests)
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    own = addresses(read_properties(CONFIG))
    inner = set(own.ports()) - {ports["metrics"]}

    def need(true: object, text: str) -> None:
        if not true:
            found.append(text)

    # Probes ask the gate; its certificate has the callers' name, which Kubernetes does not check.
    for probe, path in (("startupProbe", "ready"), ("readinessProbe", "ready"), ("livenessProbe", "live")):
        asked = {"path": f"/health/{path}", "port": "https", "scheme": "HTTPS"}
        need(container.get(probe, {}).get("httpGet") == asked, f"{probe} does not ask the gate")

    # An update takes no pod away before another is ready, and a pod has the time that its end takes.
    strategy = deployment["spec"]["strategy"]["rollingUpdate"]
    need(strategy["maxUnavailable"] == 0 and strategy["maxSurge"] >= 1, "an update takes pods away first")
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    end = int(seconds) + DRAIN_TIMEOUT + 2 * STOP_TIMEOUT
    need(command == "sleep" and spec["terminationGracePeriodSeconds"] >= end, "a pod is killed while it ends")

    # What Kubernetes calls the restricted profile, and a root that nobody writes to.
    security = spec["securityContext"] | container["securityContext"]
    need(security["runAsNonRoot"] and security["runAsUser"] > 0, "it runs as root")
    need(security["seccompProfile"]["type"] == "RuntimeDefault", "no seccomp profile")
    need(security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], "its root can be written to")
    need(security["capabilities"] == {"drop": ["ALL"]}, "it keeps capabilities")
    need(spec["automountServiceAccountToken"] is False, "it holds a token of Kubernetes")

    # The network: callers to the gate, monitoring to the metrics, nobody to anything else.
    network = one(manifests, "NetworkPolicy")["spec"]
    need(network["podSelector"]["matchLabels"].items() <= labels(deployment).items(), "the policy selects other pods")
    need(set(network["policyTypes"]) == {"Ingress", "Egress"} and network["egress"] == [], "it may call others")
    for rule in network["ingress"]:
        opened = {port.get("port") for port in rule.get("ports", [{}])}
        if opened <= {"https", "grpcs"}:
            continue
        monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
        need(
            opened == {"metrics", "supervisor"} and rule.get("from") == monitoring,
            f"{opened} are open to {rule.get('from', 'all')}",
        )
    need(not inner & {*ports.values()}, "the pod offers a port of TorchServe's own")
    for setting, port in (("metrics_address", "metrics"), ("supervisor_metrics_address", "supervisor")):
        argument = f"--set={setting}=http://0.0.0.0:{ports[port]}"
        need(argument in container["args"], f"{setting} stays on loopback")
    offered = {port["targetPort"] for port in one(manifests, "Service")["spec"]["ports"]}
    need(offered == {"https", "grpcs"}, "the service offers more than the gate")

    # Everything that selects pods selects these; everything mounted is a volume, and the other way round.
    for name, selector in (
        ("Deployment", deployment["spec"]["selector"]["matchLabels"]),
        ("Service", one(manifests, "Service")["spec"]["selector"]),
        ("PodDisruptionBudget", one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]),
    ):
        need(selector and selector.items() <= labels(deployment).items(), f"{name} selects other pods")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    need(mounted == {volume["name"] for volume in spec["volumes"]}, "mounts and volumes differ")
    need({"memory", "cpu"} <= container["resources"]["limits"].keys(), "no limits: workers are sized by the node")

    scaler = one(manifests, "HorizontalPodAutoscaler")["spec"]
    need(scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"], "the autoscaler scales something else")
    need("replicas" not in deployment["spec"], "an update resets what the autoscaler decided")
    return found


def labels(deployment: Manifest) -> dict[str, str]:
    return deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_gives_what_the_server_needs(rendered, name):
    assert faults(rendered(name)) == []


def test_the_autoscaler_asks_for_what_the_adapter_makes(rendered):
    values = yaml.safe_load((FOLDER / "monitoring" / "adapter-values.yaml").read_text())
    made = {rule["name"]["as"] for rule in values["rules"]["custom"]}
    metrics = one(rendered(OVERLAYS[0]), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert {metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"} == made
    assert "cpu" in [metric["resource"]["name"] for metric in metrics if metric["type"] == "Resource"]


def test_the_gate_behind_kserve_takes_its_settings(rendered):
    settings = read_settings(FOLDER / "kserve" / "gate.toml")
    runtime = one(rendered("kserve"), "ServingRuntime")["spec"]
    (container,) = runtime["containers"]
    assert container["ports"][0]["containerPort"] == int(settings.rest.rpartition(":")[2])
    assert Path(settings.callers).parent.as_posix() in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in runtime["volumes"]}
    service = one(rendered("kserve"), "InferenceService")["spec"]["predictor"]
    assert service["model"]["runtime"] == one(rendered("kserve"), "ServingRuntime")["metadata"]["name"]
    assert service["model"]["modelFormat"]["name"] in [row["name"] for row in runtime["supportedModelFormats"]]


def removed(*path: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        for name in path[:-1]:
            manifest = manifest[name]
        del manifest[path[-1]]

    return change


def put(value: Any, *path: Any) -> Callable[[Manifest], None]:
    def change(manifest: Manifest) -> None:
        for name in path[:-1]:
            manifest = manifest[name]
        manifest[path[-1]] = value

    return change


SPEC = ("spec", "template", "spec")
SERVER = (*SPEC, "containers", 0)


@pytest.mark.parametrize(
    ("overlay", "name", "change"),
    [
        ("overlays/cpu", "Deployment", put({}, *SERVER, "readynessProbe")),
        ("overlays/cpu", "Deployment", put("soon", *SPEC, "terminationGracePeriodSeconds")),
        ("overlays/cpu", "Deployment", removed(*SERVER, "name")),
        ("overlays/cpu", "Deployment", removed("spec", "selector")),
        ("overlays/cpu", "NetworkPolicy", put("all", "spec", "ingress")),
        ("overlays/cpu", "HorizontalPodAutoscaler", removed("spec", "maxReplicas")),
        ("overlays/cpu", "PodDisruptionBudget", put("many", "spec", "disruptionsAllowed")),
        ("overlays/gpu", "Service", put("443", "spec", "ports", 0, "port")),
        ("kserve", "ServingRuntime", put([], "spec", "containers")),
        ("kserve", "ServingRuntime", put({}, "spec", "containers", 0, "readynessProbe")),
        ("kserve", "InferenceService", removed("spec", "predictor", "model", "modelFormat")),
        ("kserve", "InferenceService", put("s3://x", "spec", "predictor", "model", "storageURL")),
        ("monitoring", "PodMonitor", put("8082", "spec", "podMetricsEndpoints", 0, "targetport")),
    ],
)
def test_a_broken_manifest_is_refused(rendered, overlay, name, change):
    manifest = one(rendered(overlay), name)
    change(manifest)
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        check(manifest)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("Deployment", put(60, *SPEC, "terminationGracePeriodSeconds"), "killed while it ends"),
        ("Deployment", put(1, "spec", "strategy", "rollingUpdate", "maxUnavailable"), "takes pods away first"),
        ("Deployment", put("/ping", *SERVER, "readinessProbe", "httpGet", "path"), "readinessProbe"),
        ("Deployment", put(False, *SPEC, "securityContext", "runAsNonRoot"), "runs as root"),
        ("Deployment", put(False, *SERVER, "securityContext", "readOnlyRootFilesystem"), "written to"),
        ("Deployment", put({"add": ["NET_ADMIN"]}, *SERVER, "securityContext", "capabilities"), "keeps capabilities"),
        ("Deployment", put([], *SPEC, "volumes"), "mounts and volumes"),
        ("Deployment", put(3, "spec", "replicas"), "autoscaler decided"),
        ("Deployment", removed(*SERVER, "resources", "limits", "cpu"), "sized by the node"),
        ("NetworkPolicy", removed("spec", "ingress", 1, "from"), "open to all"),
        ("NetworkPolicy", put([{}], "spec", "ingress"), "open to all"),
        ("NetworkPolicy", put([{"port": 8081}], "spec", "ingress", 0, "ports"), "open to all"),
        ("NetworkPolicy", put({"app": "other"}, "spec", "podSelector", "matchLabels"), "selects other pods"),
        ("Service", put("metrics", "spec", "ports", 0, "targetPort"), "more than the gate"),
        ("Service", put({"app": "other"}, "spec", "selector"), "selects other pods"),
        ("HorizontalPodAutoscaler", put("other", "spec", "scaleTargetRef", "name"), "something else"),
    ],
)
def test_what_the_server_needs_is_missed(rendered, name, change, fault):
    manifests = rendered(OVERLAYS[0])
    change(one(manifests, name))
    assert any(fault in text for text in faults(manifests))
