"""The container's files: valid for those that read them, and naming only what the service has."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import httpx
import pytest
import yaml

from heldout.files import REPOSITORY

pytest.importorskip("pydantic_settings", reason="the extra serve is not installed")

from heldout.serve.settings import PREFIX, ServeSettings

pytestmark = pytest.mark.extras

FOLDER = REPOSITORY / "src" / "heldout" / "serve" / "container"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
MANIFESTS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
DEPLOYMENT = next(one for one in MANIFESTS if one["kind"] == "Deployment")["spec"]["template"]["spec"]
DASHBOARD = json.loads((FOLDER / "grafana" / "heldout.json").read_text())


def _environment() -> dict[str, str]:
    """The variables of the image."""
    [text] = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(text.replace("\\\n", " ")))


@pytest.mark.parametrize("path", [REPOSITORY / "compose.yaml", FOLDER / "gpu.yaml"], ids=lambda path: path.name)
def test_the_compose_files_fit_their_specification(path):
    check = pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    words = ["--builtin-schema", "vendor.compose-spec", str(path)]
    with pytest.raises(SystemExit) as ended:
        check.main(words)
    assert ended.value.code == 0


def test_the_file_for_a_gpu_adds_to_a_service_that_there_is():
    further = yaml.safe_load((FOLDER / "gpu.yaml").read_text())["services"]
    assert further.keys() <= COMPOSE["services"].keys()


def test_the_manifests_fit_kubernetes_schemas():
    check = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for one in MANIFESTS:
        check.validate(one, check.latest_version(), strict=True)
    assert {one["kind"] for one in MANIFESTS} >= {"Deployment", "Service", "Secret"}


def test_variables_are_settings():
    [container] = DEPLOYMENT["containers"]
    texts = [*_environment(), *COMPOSE["services"]["serve"]["environment"], *(one["name"] for one in container["env"])]
    texts += re.findall(rf"{PREFIX}\w+", "".join(path.read_text() for path in FOLDER.glob("Dockerfile*")))
    named = {text.removeprefix(PREFIX).lower() for text in texts if text.startswith(PREFIX)}
    assert {"decision", "trust", "token_file", "device"} <= named <= set(ServeSettings.model_fields)


def test_ports_and_paths_agree():
    given = _environment()
    port = int(given[f"{PREFIX}PORT"])
    assert port == ServeSettings.model_fields["port"].default
    assert f"EXPOSE {port}" in DOCKERFILE
    [container] = DEPLOYMENT["containers"]
    serve = COMPOSE["services"]["serve"]
    assert container["ports"][0]["containerPort"] == port
    assert serve["ports"] == [f"127.0.0.1:{port}:{port}"]
    scrape = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]
    assert scrape["static_configs"] == [{"targets": [f"serve:{port}"]}]
    tokens = Path(given[f"{PREFIX}TOKEN_FILE"])
    assert serve["secrets"] == [tokens.name]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts == {"uploads": "/tmp", "corrections": given["HELDOUT_HOME"], "tokens": str(tokens.parent)}
    secret = next(one for one in MANIFESTS if one["kind"] == "Secret")
    assert list(secret["stringData"]) == [tokens.name]
    targets = [one.rsplit(":", 2)[-2 if one.endswith(":ro") else -1] for one in serve["volumes"]]
    registry = serve["environment"][f"{PREFIX}REGISTRY"].rpartition(":-")[2].rstrip("}")
    assert targets == [given[f"{PREFIX}DECISION"], registry, given["HELDOUT_HOME"]]
    assert f" {registry} " in DOCKERFILE
    for service in COMPOSE["services"].values():
        for one in service["volumes"]:
            if one.startswith("./"):
                assert (REPOSITORY / one.split(":")[0]).is_file(), one


def test_nothing_runs_as_root_or_writes_to_the_image():
    user = re.search(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)[1]
    serve, [container] = COMPOSE["services"]["serve"], DEPLOYMENT["containers"]
    assert int(user) > 0
    assert serve["user"].split(":")[0] == user
    assert (serve["read_only"], serve["cap_drop"], serve["tmpfs"][0].split(":")[0]) == (True, ["ALL"], "/tmp")
    assert (DEPLOYMENT["securityContext"]["runAsUser"], DEPLOYMENT["securityContext"]["runAsNonRoot"]) == (
        int(user),
        True,
    )
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_probes_ask_what_is_open_without_a_token(server):
    [container] = DEPLOYMENT["containers"]
    probes = [container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == ["/healthz", "/healthz", "/readyz"]
    assert "/healthz" in DOCKERFILE
    assert [httpx.get(server.url + path).status_code for path in probes] == [200] * 3


def test_the_dashboard_shows_what_the_service_measures(server, picture):
    assert httpx.post(f"{server.url}/classify", files={"file": picture}, timeout=60).status_code == 200
    known = set(re.findall(r"^(heldout_\w+)", httpx.get(f"{server.url}/metrics").text, re.MULTILINE))
    asked = {
        name
        for panel in DASHBOARD["panels"]
        for one in panel["targets"]
        for name in re.findall(r"heldout_\w+", one["expr"])
    }
    assert len(asked) >= 8
    assert asked <= known


def test_the_context_holds_what_is_copied_and_no_secret():
    allowed = (REPOSITORY / ".dockerignore").read_text().split()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {word for line in copied for word in line.split()}
    assert all((REPOSITORY / word).exists() for word in sources)
    assert "*" in allowed
    assert all(f"!{word}" in allowed or f"!{word.split('/')[0]}" in allowed for word in sources)
    links = {path.resolve() for path in (REPOSITORY / "src").rglob("*") if path.is_symlink()}
    outside = {path for path in links if "node_modules" not in path.parts}
    assert outside, "what is linked is copied too"
    assert all(any(path.is_relative_to(REPOSITORY / word) for word in sources) for path in outside)
    assert "**/.env" in allowed
