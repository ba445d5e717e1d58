"""What enters and leaves when a node is claimed, configured, or told whom not to hear."""

import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contract.orders import MAX_PROBLEMS, Section

_SETTING = re.compile(r"[a-z][a-z0-9_]{0,62}")
MOST_BYTES = 64 * 1024
LOCAL_SECTIONS = ("node", "uplink")
"""Who a node is and whom it speaks to is decided where it hangs: a mistake there could not be taken back from afar."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClaimCode(BaseModel):
    code: str
    """To be typed on the node: `./aisle edge claim CODE`. Shown this once."""
    expires_at_us: int


class Claim(_Model):
    code: str = Field(max_length=100)
    csr: str = Field(max_length=8_192)
    """PKCS #10 in PEM. Its subject is empty, or the node's TENANT/STORE/NODE."""


class Renewal(_Model):
    certificate: str = Field(max_length=8_192)
    """The present one, PEM."""
    csr: str = Field(max_length=8_192)
    """For the next one, PEM; signed by the next key."""
    signature: str = Field(max_length=200)
    """By the present key over `aisle renew v1`, a zero byte and the request in DER: ECDSA with SHA-256, base64."""


class Named(BaseModel):
    """A node's papers: all that it needs beside its key, which it never showed."""

    tenant: str
    store: str
    node: str
    tz: str
    """Of the store; the node's [node] tz."""
    certificate: str
    authority: str
    """PEM: by it the node knows the broker and its siblings."""
    broker_host: str
    broker_port: int


def _plain(value: Any, depth: int = 0) -> bool:
    """Whether TOML can say it: no null, nothing nested too deeply."""
    match value:
        case bool() | int() | float() | str():
            return True
        case list():
            return depth < 4 and all(_plain(item, depth + 1) for item in value)
        case dict():
            return depth < 4 and all(_SETTING.fullmatch(k) and _plain(v, depth + 1) for k, v in value.items())
        case _:
            return False


def _settings(settings: dict[str, Section]) -> dict[str, Section]:
    for section, values in settings.items():
        if section in LOCAL_SECTIONS:
            raise ValueError(f"[{section}] belongs to the node's own file")
        if not _SETTING.fullmatch(section) or not _plain(values):
            raise ValueError(f"[{section[:63]}] holds what a node.toml cannot")
    return settings


class NodeSettings(_Model):
    settings: Annotated[dict[str, Section], AfterValidator(_settings)] = Field(
        examples=[{"ble": {"mode": "passive"}, "health": {"every_s": 60}}]
    )
    """By section, as in node.toml; they are laid over the node's own file, so {} takes all of them back."""

    @model_validator(mode="after")
    def _not_too_large(self) -> Self:
        if len(json.dumps(self.settings)) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        return self


class Version(BaseModel):
    version: int


class NodeConfiguration(BaseModel):
    """What a node is to run and what it says."""

    version: int
    settings: dict[str, Section]
    desired_at_us: int | None
    desired_by: str
    running: int | None
    answered: int | None
    """The version that the node last said something about."""
    state: Literal["applied", "refused"] | None
    problems: Annotated[list[str], Field(max_length=MAX_PROBLEMS)]
    answered_at_us: int | None
    drift: bool
    drift_since_us: int | None


class OptOut(_Model):
    address: str = Field(max_length=40, examples=["00:11:22:33:44:55"])
    """The device's own Bluetooth or Wi-Fi address. It is not kept."""
