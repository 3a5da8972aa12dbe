"""Certificates: read from PEM files, checked before anybody relies on them, renewed in time.

Cryptography is imported late: who does without TLS does without its 10 MB.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from msgspec import Struct

from pdp.errors import StartRefused
from pdp.settings import PREFIX, Settings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_log = structlog.get_logger(__name__)

Use = Literal["server", "client"]

_RSA_BITS: Final = 2048
"""What OpenSSL asks for at least, and whoever signs certificates."""


class PemFile(Struct, frozen=True):
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def read(self) -> bytes:
        """Return what is in it; raises `StartRefused`."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            reason = (error.strerror or "unreadable").lower()
            raise StartRefused(f"{self.setting}: cannot read `{self.path}`: {reason}") from error

    def refuse(self, what: str) -> StartRefused:
        """Return an error that says what is wrong with it."""
        return StartRefused(f"{self.setting}: `{self.path}` {what}")


class TlsFiles(Struct, frozen=True):
    """What one side of TLS shows (`cert`, `key`: both or none), and whom it believes (`ca`)."""

    use: Use
    cert: PemFile | None
    key: PemFile | None
    ca: PemFile | None

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what differs once a file has been replaced or written to."""
        return tuple(_state(file.path) for file in (self.cert, self.key, self.ca) if file)


class Pems(Struct, frozen=True):
    """The files' contents, checked. `expires` is when the certificate does, None: there is none."""

    cert: bytes | None
    key: bytes | None
    ca: bytes | None
    expires: datetime | None


def port_files(settings: Settings) -> TlsFiles | None:
    """Return the files of the gRPC port; None: it is plaintext. Raises `StartRefused`."""
    found = _files("server", "TLS", settings.tls_cert, settings.tls_key)
    ca = _named("TLS_CLIENT_CA", settings.tls_client_ca)
    if found is None and ca is not None:
        raise needed(f"{PREFIX}TLS_CERT", ca)
    return found and TlsFiles("server", found.cert, found.key, ca)


def line_files(settings: Settings, use: Use) -> TlsFiles | None:
    """Return a plane's files for the line between the planes; None: it is plaintext.

    All three or none: each side shows a certificate and verifies the other's. Raises
    `StartRefused`.
    """
    found = _files(use, "CONTROL_TLS", settings.control_tls_cert, settings.control_tls_key)
    ca = _named("CONTROL_TLS_CA", settings.control_tls_ca)
    if found is None and ca is None:
        return None
    if found is None or found.cert is None:
        raise needed(f"{PREFIX}CONTROL_TLS_CERT", ca)
    if ca is None:
        raise needed(f"{PREFIX}CONTROL_TLS_CA", found.cert)
    return TlsFiles(use, found.cert, found.key, ca)


def _files(use: Use, stem: str, cert: Path | None, key: Path | None) -> TlsFiles | None:
    shown, secret = _named(f"{stem}_CERT", cert), _named(f"{stem}_KEY", key)
    if shown is None and secret is None:
        return None
    if secret is None:
        raise needed(f"{PREFIX}{stem}_KEY", shown)
    if shown is None:
        raise needed(f"{PREFIX}{stem}_CERT", secret)
    return TlsFiles(use, shown, secret, None)


def _named(name: str, path: Path | None) -> PemFile | None:
    return None if path is None else PemFile(f"{PREFIX}{name}", path)


def needed(name: str, because: PemFile | None) -> StartRefused:
    """Return an error that says that a file is missing beside another."""
    given = because.setting if because else ""
    return StartRefused(f"{name}: needed because {given} is set: name a PEM file")


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def load(files: TlsFiles, now: datetime) -> Pems:
    """Read and check; raises `StartRefused` with one line that names the setting."""
    before = files.state()
    try:
        return _checked(files, now)
    except StartRefused:
        if files.state() == before:
            raise
        return load(files, now)  # They were just being replaced.


class Renewed:
    """Files that are read again when they have changed.

    A bad change is told once, and passed over until the files are in order.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], datetime]) -> None:
        """Read them; raises `StartRefused`."""
        self.files = files
        self._clock = clock
        self._seen = files.state()
        self._fault = ""
        self.pems = load(files, clock())

    def renew(self) -> None:
        """Look whether the files have changed: `pems` is another object then."""
        seen = self.files.state()
        if seen == self._seen:
            return
        try:
            self.pems = load(self.files, self._clock())
        except StartRefused as error:
            # Tried again the next time: rights and the clock change without the file.
            if str(error) != self._fault:
                self._fault = str(error)
                _log.warning("certificate not renewed, the one before stays", reason=self._fault)
            return
        self._seen, self._fault = seen, ""
        expires = self.pems.expires
        _log.info("certificate renewed", use=self.files.use, expires=expires and str(expires))


def wall_clock() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _checked(files: TlsFiles, now: datetime) -> Pems:
    cert = key = ca = expires = None
    if files.cert is not None and files.key is not None:
        cert, key = files.cert.read(), files.key.read()
        shown = _certificates(files.cert, cert)[0]  # Those that follow lead to the CA.
        _check_times(files.cert, shown, now)
        _check_use(files.cert, shown, files.use)
        if _public_key(files.key, key) != _usable_key(files.cert, shown):
            raise files.key.refuse(f"is not the key of the certificate in {files.cert.setting}")
        expires = shown.not_valid_after_utc
    if files.ca is not None:
        ca = files.ca.read()
        if all(each.not_valid_after_utc < now for each in _certificates(files.ca, ca)):
            raise files.ca.refuse("has no certificate that has not expired: renew it")
    return Pems(cert, key, ca, expires)


def _certificates(file: PemFile, data: bytes) -> "list[Certificate]":
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificates  # noqa: PLC0415

    try:
        return load_pem_x509_certificates(data)
    except (ValueError, InvalidVersion) as error:
        raise file.refuse("has no certificate in PEM (`-----BEGIN CERTIFICATE-----`)") from error


def _check_times(file: PemFile, shown: "Certificate", now: datetime) -> None:
    if shown.not_valid_after_utc < now:
        raise file.refuse(f"expired at {_when(shown.not_valid_after_utc)}: renew it")
    if shown.not_valid_before_utc > now:
        raise file.refuse(
            f"is not valid before {_when(shown.not_valid_before_utc)}: is the clock right?"
        )


def _check_use(file: PemFile, shown: "Certificate", use: Use) -> None:
    """Who limits what a certificate is for must allow what it is used for here."""
    from cryptography.x509 import (  # noqa: PLC0415
        DuplicateExtension,
        ExtendedKeyUsage,
        ExtensionNotFound,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID as Oid  # noqa: PLC0415

    try:
        uses = shown.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except DuplicateExtension as error:
        raise file.refuse("has an extension twice: nobody accepts it, make another") from error
    except (ExtensionNotFound, ValueError):
        return
    wanted = Oid.SERVER_AUTH if use == "server" else Oid.CLIENT_AUTH
    if wanted not in uses and Oid.ANY_EXTENDED_KEY_USAGE not in uses:
        raise file.refuse(f"is not for a {use}: its extended key usage lacks `{use}Auth`")


def _usable_key(file: PemFile, shown: "Certificate") -> Any:
    """BoringSSL, which gRPC and Envoy have inside, takes no signature of other keys (tried)."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415

    curves = (ec.SECP256R1, ec.SECP384R1)
    with suppress(UnsupportedAlgorithm, ValueError):
        key = shown.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            if key.key_size < _RSA_BITS:
                raise file.refuse(
                    f"is for an RSA key of {key.key_size} bits, which is no longer safe: "
                    f"make one of {_RSA_BITS} or more"
                )
            return key
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curves):
            return key
    raise file.refuse("is for a key that gRPC cannot use: make one of P-256, P-384 or RSA")


def _public_key(file: PemFile, data: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(data, None).public_key()
    except TypeError as error:
        raise file.refuse("is encrypted: decrypt it, and let nobody else read it") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise file.refuse("has no private key in PEM (`-----BEGIN PRIVATE KEY-----`)") from error


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
