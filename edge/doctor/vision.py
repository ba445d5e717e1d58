"""Camera and models, where node.toml asks for them."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped
from edge.doctor.patient import Model, Patient
from edge.doctor.tools import user_name


def camera(patient: Patient) -> Iterator[Finding]:
    """Every camera that node.toml names."""
    if not patient.hardware.cameras:
        yield skipped("camera", patient.unasked)
    for device in patient.hardware.cameras:
        path = Path(device.path)
        if not path.exists():
            yield failed("camera", f"no {path}", "plug it in; v4l2-ctl --list-devices")
        elif not os.access(path, os.R_OK | os.W_OK):
            user = user_name()
            yield failed(
                "camera", f"{path}: {user} may not use it", f"sudo usermod -aG video {user}, then sign in again"
            )
        else:
            yield passed("camera", f"{path} is there and may be used")


def models(patient: Patient) -> Iterator[Finding]:
    """Every model file, against the SHA-256 that node.toml gives."""
    if not patient.hardware.models:
        yield skipped("models", patient.unasked)
    for model in patient.hardware.models:
        yield judge_model(model, digest_of(patient.folder / model.path))


def judge_model(model: Model, digest: str | None) -> Finding:
    """Judges one file by its digest, None if it cannot be read."""
    fetch = f"copy {model.path} here again"
    if digest is None:
        return failed("models", f"{model.path} cannot be read", fetch)
    if digest != model.sha256.lower():
        return failed("models", f"{model.path} is another file: sha256 {digest[:12]}…, not {model.sha256[:12]}…", fetch)
    return passed("models", f"{model.path}, sha256 {digest[:12]}…")


def digest_of(path: Path) -> str | None:
    """A file's SHA-256 in hexadecimal digits; None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
