"""The cloud's settings: environment variables checked at start, errors name the variable and the form expected."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from contract.clock import Clock, clock_from


class ConfigError(Exception):
    """A setting is missing or malformed."""


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where the MQTT broker is and as whom to speak to it."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    ca: str | None
    """File with the authority that signed the broker's certificate; None: those that the machine trusts."""
    cert: str | None
    """File with this process's own certificate; its key is in the file `key`. Both or neither."""
    key: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cloud process needs to know; each process reads only its own variables."""

    environ: Mapping[str, str]

    @property
    def owner_dsn(self) -> str:
        """PostgreSQL as the schema's owner: `migrate` only."""
        return self._required("AISLE_OWNER_DSN", "postgresql://aisle_owner:PASSWORD@HOST:PORT/aisle")

    @property
    def service_dsn(self) -> str:
        """PostgreSQL as the service role: ingest, locate, worker."""
        return self._required("AISLE_SERVICE_DSN", "postgresql://aisle_service:PASSWORD@HOST:PORT/aisle")

    @property
    def app_dsn(self) -> str:
        """PostgreSQL as the api's role, which sees one tenant at a time."""
        return self._required("AISLE_APP_DSN", "postgresql://aisle_app:PASSWORD@HOST:PORT/aisle")

    @property
    def broker(self) -> BrokerUrl:
        """The MQTT broker. Raises ConfigError, for a certificate file that is not there too."""
        form = "mqtt://USER:PASSWORD@HOST:PORT or mqtts://…"
        url = urlsplit(self._required("AISLE_BROKER", form))
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
            raise ConfigError(f"AISLE_BROKER: expected {form}")
        tls = url.scheme == "mqtts"
        user, password = (unquote(part) if part else None for part in (url.username, url.password))
        ca, cert, key = (self._file(f"AISLE_BROKER_{part}") for part in ("CA", "CERT", "KEY"))
        if (cert is None) != (key is None):
            raise ConfigError("AISLE_BROKER_CERT and AISLE_BROKER_KEY: found one of them, expected both or neither")
        if (ca or cert) and not tls:
            raise ConfigError("AISLE_BROKER: found mqtt:// with certificates, expected mqtts://")
        return BrokerUrl(url.hostname, url.port or (8883 if tls else 1883), user, password, tls, ca, cert, key)

    @property
    def http(self) -> tuple[str, int]:
        """Where the api listens; loopback unless said otherwise."""
        text = self.environ.get("AISLE_HTTP", "127.0.0.1:8000")
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"AISLE_HTTP: found {text!r}, expected HOST:PORT")
        return host, int(port)

    @property
    def secure_cookies(self) -> bool:
        """Whether cookies are marked Secure: always, unless the api is reached over plain HTTP on loopback."""
        return self.http[0] not in ("127.0.0.1", "::1", "localhost")

    @property
    def clock(self) -> Clock:
        """The machine's clock, or the simulated clock of a demo."""
        try:
            return clock_from(self.environ.get("AISLE_CLOCK"))
        except ValueError as error:
            raise ConfigError(f"AISLE_CLOCK: {error}") from None

    def _file(self, name: str) -> str | None:
        path = self.environ.get(name)
        if path and not Path(path).is_file():
            raise ConfigError(f"{name}: found {path!r}, expected a file that exists")
        return path or None

    @property
    def history_until_us(self) -> int:
        """Up to which instant a demo's past was fast-forwarded: decided as if in time. 0 in production."""
        text = self.environ.get("AISLE_HISTORY_UNTIL", "0")
        if not text.isdigit():
            raise ConfigError(f"AISLE_HISTORY_UNTIL: found {text!r}, expected microseconds since 1970 UTC")
        return int(text)

    def _required(self, name: str, form: str) -> str:
        value = self.environ.get(name)
        if not value:
            raise ConfigError(f"{name} is not set; expected {form}")
        return value


def from_environment() -> Settings:
    """The settings of this process."""
    return Settings(os.environ)
