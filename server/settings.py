"""config.properties as one instance uses it: with absolute paths and its own changes."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from server.sizing import CORE_SHARES

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config.properties"
CURRENT = "current"  # in a model store: the versions that are served


@dataclass(frozen=True)
class Addresses:
    """Where an instance listens. URLs without a final slash; the gRPC addresses as host:port."""

    inference: str
    management: str
    metrics: str
    grpc_inference: str
    grpc_management: str

    def inference_ports(self) -> list[int]:
        """Return the ports on which callers are answered, of REST and of gRPC."""
        return [urlsplit(self.inference).port, int(self.grpc_inference.rpartition(":")[2])]

    def ports(self) -> list[int]:
        """All five port numbers."""
        urls = (self.inference, self.management, self.metrics)
        return [urlsplit(url).port for url in urls] + [
            int(address.rpartition(":")[2]) for address in (self.grpc_inference, self.grpc_management)
        ]


def read_properties(path: Path) -> dict[str, str]:
    """Return the keys and values of a Java properties file as TorchServe uses them: one `key=value` a line."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def instance_settings(config: Path, changes: dict[str, str]) -> dict[str, str]:
    """Return the file's settings with `changes`, paths absolute, the model store the only place archives come from."""
    settings = read_properties(config) | changes
    store = (config.parent / settings["model_store"]).resolve()
    settings["model_store"] = str(store)
    if "metrics_config" in settings:
        settings["metrics_config"] = str((config.parent / settings["metrics_config"]).resolve())
    if "allowed_urls" not in changes:
        settings["allowed_urls"] = f"file://{re.escape(str(store))}/[^/]+[.]mar"
    return settings


def write_properties(settings: dict[str, str], path: Path) -> None:
    """Write a Java properties file; a backslash starts an escape there, so it is doubled."""
    lines = (f"{key}={value}".replace("\\", "\\\\") for key, value in settings.items())
    path.write_text("\n".join(lines) + "\n")


def archive_files(settings: dict[str, str]) -> list[tuple[str | None, str]]:
    """Return the archives that an instance with these settings loads at its start, the default version first.

    Each as the name that the setting `load_models` gives the model, if any, and the file's. Without that setting these
    are the archives of the releases that `current` in the model store names, one a line, or all that are there.
    """
    if "load_models" in settings:
        entries = (entry.strip().rpartition("=") for entry in settings["load_models"].split(","))
        return [(name or None, file) for name, _, file in entries]
    store = Path(settings["model_store"])
    if not (store / CURRENT).exists():
        return [(None, path.name) for path in sorted(store.glob("*.mar"))]
    versions = (store / CURRENT).read_text().split()
    return [(None, f"{endpoint}-{version}.mar") for version in versions for endpoint in CORE_SHARES]


def addresses(settings: dict[str, str]) -> Addresses:
    """Where an instance with these settings listens."""
    return Addresses(
        inference=settings["inference_address"].rstrip("/"),
        management=settings["management_address"].rstrip("/"),
        metrics=settings["metrics_address"].rstrip("/"),
        grpc_inference=f"{settings['grpc_inference_address']}:{settings['grpc_inference_port']}",
        grpc_management=f"{settings['grpc_management_address']}:{settings['grpc_management_port']}",
    )
