"""Certificates that OpenSSL does not take."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from pdp.certificates import Renewed, port_files, wall_clock
from pdp.errors import StartRefused
from pdp.serve.secure.contexts import Contexts
from pdp.settings import Settings
from tests.pki import Authority, Shown


def weaken(shown: Shown) -> None:
    """Let a certificate follow, as of who has signed it, whose key is too short."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    pem = Encoding.PEM
    with shown.cert.open("ab") as file:
        file.write(made.sign(key, hashes.SHA256()).public_bytes(pem))


def renewed(shown: Shown, ca: Path) -> Renewed:
    files = port_files(Settings(tls_cert=shown.cert, tls_key=shown.key, tls_client_ca=ca))
    assert files is not None
    return Renewed(files, wall_clock)


def test_a_key_that_is_too_short_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("server")
    weaken(shown)
    with pytest.raises(StartRefused, match=r"^PDP_TLS_CERT: `.*server.crt` .*: ca key too small$"):
        Contexts(renewed(shown, authority.ca))


def test_one_that_comes_later_is_passed_over(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("server")
    contexts = Contexts(renewed(shown, authority.ca))
    first = contexts.current()
    assert contexts.current() is first
    weaken(shown)
    with capture_logs() as log:
        assert contexts.current() is first
        assert contexts.current() is first
    told = [each for each in log if each["event"].startswith("certificate not renewed")]
    assert ["ca key too small" in each["reason"] for each in told] == [True]
    authority.issue("server")
    assert contexts.current() is not first
