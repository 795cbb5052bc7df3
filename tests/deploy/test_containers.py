"""The files for containers: held to published schemas, started as they say, and none of them loses a task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dev_env
import httpx
import pytest
import served
from support.models import ECHO, write_model
from support.server import LONG, REPOSITORY, program

DEPLOY = REPOSITORY / "deploy"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = ("1.31", "1.34", "1.37")
"""The versions that the manifests are held to, old to new."""
READ = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
NOT_OURS = ("CRESSET_", "KUBERNETES_")


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder of hadolint, kubernetes-validate and check-jsonschema, each of one version."""
    return Path(dev_env.build("deploy", sys.executable)).parent


def read(tools: Path, path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    command = [str(tools / "python"), "-c", READ]
    done = subprocess.run(command, input=path.read_text(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def manifests(tools: Path) -> list[dict[str, Any]]:
    """Everything that is for Kubernetes."""
    return [each for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for each in read(tools, path)]


def called(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """One of them."""
    return next(each for each in found if each["kind"] == kind and each["metadata"]["name"] == name)


def passes(*command: str | Path) -> str:
    """What a program that finds nothing wrong says."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_hadolint_finds_nothing_wrong_with_the_containerfile(tools: Path) -> None:
    passes(tools / "hadolint", "--failure-threshold", "style", DEPLOY / "container" / "Containerfile")


def test_the_compose_file_is_one_by_the_published_schema(tools: Path) -> None:
    compose = DEPLOY / "container" / "compose.yaml"
    passes(tools / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)
    service = read(tools, compose)[0]["services"]["cresset"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert (compose.parent / service["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / service["build"]["dockerfile"]).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"]), "a server without keys is for this machine"


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_the_manifests(version: str, tools: Path) -> None:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    said = passes(tools / "kubernetes-validate", "-k", version, "--strict", *files)
    unknown = set(re.findall(r"find schema for kind (\w+)", said))
    assert unknown == {"ScaledObject", "TriggerAuthentication"}, said


def strict(schema: Any) -> Any:
    """A schema that refuses keys it does not know, as Kubernetes does when it is told to."""
    if isinstance(schema, dict):
        closed = {
            key: strict(value) for key, value in schema.items() if key != "description" or isinstance(value, dict)
        }
        if "properties" in closed and "additionalProperties" not in closed:
            closed["additionalProperties"] = closed.get("x-kubernetes-preserve-unknown-fields", False)
        return closed
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("kind", ["ScaledObject", "TriggerAuthentication"])
def test_keda_takes_its_resources(kind: str, tools: Path, tmp_path: Path) -> None:
    resource = read(tools, SCHEMAS / f"keda.sh_{kind.lower()}s.yaml")[0]["spec"]
    schema = strict(resource["versions"][0]["schema"]["openAPIV3Schema"])
    # Kubernetes itself says what metadata is.
    schema["properties"]["metadata"] = {"type": "object"}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "resource.json").write_text(json.dumps(called(manifests(tools), kind, "cresset-celery")))
    passes(tools / "check-jsonschema", "--schemafile", tmp_path / "schema.json", tmp_path / "resource.json")
    (tmp_path / "wrong.json").write_text(json.dumps({"spec": {"surprise": 1}}))
    with pytest.raises(AssertionError, match="surprise"):
        passes(tools / "check-jsonschema", "--schemafile", tmp_path / "schema.json", tmp_path / "wrong.json")


def test_no_manifest_loses_or_strands_a_task(tools: Path) -> None:
    found = manifests(tools)
    server = called(found, "StatefulSet", "cresset")["spec"]
    assert server["replicas"] == 1
    data = next(each for each in server["volumeClaimTemplates"] if each["metadata"]["name"] == "data")
    assert data["spec"]["accessModes"] == ["ReadWriteOncePod"], "two servers must not have one store"
    scaled = [each["spec"]["scaleTargetRef"] for each in found if each["kind"] == "ScaledObject"]
    assert [(each["kind"], each["name"]) for each in scaled] == [("Deployment", "cresset-celery")]
    worker = called(found, "Deployment", "cresset-celery")["spec"]
    assert "replicas" not in worker, "it would undo what KEDA has set, at every apply"
    assert called(found, "ScaledObject", "cresset-celery")["spec"]["minReplicaCount"] >= 1
    # A worker's own store goes with its pod: nobody may put a task there.
    services = [each["spec"]["selector"] for each in found if each["kind"] == "Service"]
    assert worker["template"]["metadata"]["labels"] not in services
    assert {"name": "CRESSET_AUTH", "value": "true"} in worker["template"]["spec"]["containers"][0]["env"]


def pods(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods that they make."""
    return [each["spec"]["template"]["spec"] for each in found if each["kind"] in {"StatefulSet", "Deployment"}]


def test_pods_run_without_rights(tools: Path) -> None:
    file = (DEPLOY / "container" / "Containerfile").read_text()
    for pod in pods(manifests(tools)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"USER {pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}\n" in file
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"] is True and rights["allowPrivilegeEscalation"] is False
            assert rights["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
            assert set(mounts) == {"/var/lib/cresset", "/var/cache/cresset", "/srv/cresset/models", "/tmp"}
            assert mounts["/srv/cresset/models"]["readOnly"] is True
        # A stop takes as long as the server's drain, and a little more.
        assert pod["terminationGracePeriodSeconds"] > 30


def image_variables() -> dict[str, str]:
    """What the image sets."""
    text = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", " ")
    return dict(re.findall(r"(CRESSET_\w+)=(\S+)", text))


def test_the_pod_s_server_starts_as_the_manifest_says(tools: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "echo", ECHO)
    container = called(manifests(tools), "StatefulSet", "cresset")["spec"]["template"]["spec"]["containers"][0]
    address = served.free_address()
    here = {
        "/srv/cresset/models": str(tmp_path / "models"),
        "/var/lib/cresset": str(tmp_path / "data"),
        "/var/cache/cresset": str(tmp_path / "cache"),
        "0.0.0.0:8700": address,
    }
    variables = image_variables() | {each["name"]: each["value"] for each in container["env"]}
    assert {here[each["mountPath"]] for each in container["volumeMounts"] if each["mountPath"] in here} == set(
        list(here.values())[:3]
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    environ |= {name: here.get(value, value) for name, value in variables.items()}
    words: list[str] = container["args"]
    command = [str(program()), *(here.get(word, word) for word in words)]
    log = tmp_path / "log"
    with ExitStack() as stack, log.open("wb") as sink:
        process = subprocess.Popen(command, env=environ, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL)
        stack.callback(served.stop, process)
        served.wait_ready(process, address, log)
        with httpx.Client(base_url=f"http://{address}", timeout=LONG) as http:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert http.get(container[probe]["httpGet"]["path"]).status_code == 200
            assert http.get("/metrics").status_code == 200
            assert http.post("/v1/models/echo/tasks", json={"input": 1}).status_code == 401
    assert "no such setting" not in log.read_text()


def test_the_pod_s_worker_has_settings_that_the_program_takes(tools: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "models", "echo", ECHO, '[celery]\ntasks = ["proj.echo"]')
    container = called(manifests(tools), "Deployment", "cresset-celery")["spec"]["template"]["spec"]["containers"][0]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    environ |= {each["name"]: each.get("value", "redis://:secret@redis:6379/0") for each in container["env"]}
    words = ["config", "show", "--json", *container["args"][2:]]
    shown = [str(program()), *words]
    done = subprocess.run(shown, env=environ, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "secret" not in done.stdout and '"inference"' in done.stdout
    passes(program(), container["args"][0], "--help")
