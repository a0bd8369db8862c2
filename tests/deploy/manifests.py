"""The kit's Kubernetes manifests, as tests and the proof of them read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "example_project" / "deploy"
FOLDER = DEPLOY / "kubernetes"
SECRET = FOLDER / "secret.yaml.example"
#: What the site's own image is called in them.
IMAGE = "obc-site:1"


def documents(*paths: Path) -> list[dict[str, Any]]:
    """Return every object of these files, or of all that kustomization.yaml lists."""
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    found = paths or tuple(FOLDER / name for name in listed)
    return [each for path in found for each in yaml.safe_load_all(path.read_text()) if each]


def named(kind: str, name: str) -> dict[str, Any]:
    """Return one object, of the files or of the example of secrets."""
    every = [*documents(), *documents(SECRET)]
    (found,) = [each for each in every if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod's specification and what it belongs to."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: dict[str, Any]

    def containers(self) -> Iterator[dict[str, Any]]:
        """Yield those that run first, then the others."""
        yield from self.spec.get("initContainers", [])
        yield from self.spec["containers"]


def pods() -> list[Pod]:
    """Return what every object that makes pods makes."""
    found = []
    for each in documents():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            found.append(
                Pod(
                    kind=each["kind"],
                    name=each["metadata"]["name"],
                    labels=template["metadata"]["labels"],
                    spec=template["spec"],
                )
            )
    return found


def pod(name: str) -> Pod:
    """Return the pod of one object."""
    (found,) = [each for each in pods() if each.name == name]
    return found


def environment(container: dict[str, Any]) -> dict[str, str]:
    """Return a container's variables, with the secrets' as the example has them."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= named("ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            found |= named("Secret", source["secretRef"]["name"])["stringData"]
    for each in container.get("env", []):
        reference = each["valueFrom"]["secretKeyRef"]
        found[each["name"]] = named("Secret", reference["name"])["stringData"][reference["key"]]
    return found


def probes(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the container's probes by name."""
    return {name: each for name, each in container.items() if name.endswith("Probe")}
