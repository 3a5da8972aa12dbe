"""Which certificates are taken, what is said of others, and when they are read again."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec.structs import replace
from structlog.testing import capture_logs

from pdp.certificates import Pems, Renewed, TlsFiles, Use, line_files, load, port_files
from pdp.errors import StartRefused
from pdp.serve.expiry import CertificateCollector
from pdp.settings import Settings, load_settings
from tests.pki import Authority, Shown

EXPIRY = "pdp_tls_certificate_expiry_timestamp_seconds"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files_of(shown: Shown, ca: Path | None = None) -> TlsFiles:
    found = port_files(Settings(tls_cert=shown.cert, tls_key=shown.key, tls_client_ca=ca))
    assert found is not None
    return found


def refusal(shown: Shown, ca: Path | None = None) -> str:
    with pytest.raises(StartRefused) as refused:
        load(files_of(shown, ca), NOW)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def self_signed(
    folder: Path,
    key: Key,
    uses: Sequence[x509.ObjectIdentifier] = (),
    encryption: KeySerializationEncryption | None = None,
) -> Shown:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pdp.test")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    shown = Shown(folder / "self.crt", folder / "self.key")
    shown.cert.write_bytes(builder.sign(key, digest).public_bytes(Encoding.PEM))
    form = encryption or NoEncryption()
    shown.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form))
    return shown


def test_what_is_in_order_is_taken(authority: Authority) -> None:
    shown = authority.issue("server", "pdp.test")
    pems = load(files_of(shown, authority.ca), NOW)
    assert pems.cert == shown.cert.read_bytes()
    assert pems.key == shown.key.read_bytes()
    assert pems.ca == authority.ca.read_bytes()
    assert pems.expires is not None
    assert NOW + DAY < pems.expires < NOW + 3 * DAY


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), None])
def test_curves_and_rsa_are_taken(tmp_path: Path, key: Key | None) -> None:
    shown = self_signed(tmp_path, key or rsa.generate_private_key(65537, 2048))
    assert isinstance(load(files_of(shown), NOW), Pems)


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())]
)
def test_keys_that_grpc_cannot_use_are_refused(tmp_path: Path, key: Key) -> None:
    line = refusal(self_signed(tmp_path, key))
    assert line.startswith("PDP_TLS_CERT: ")
    assert "P-256, P-384 or RSA" in line


def test_rsa_keys_that_are_too_short_are_refused(tmp_path: Path) -> None:
    line = refusal(self_signed(tmp_path, rsa.generate_private_key(65537, 1024)))
    assert line.startswith(
        f"PDP_TLS_CERT: `{tmp_path / 'self.crt'}` is for an RSA key of 1024 bits"
    )
    assert line.endswith(": make one of 2048 or more")


def test_files_that_are_not_there_are_named(authority: Authority, tmp_path: Path) -> None:
    shown = authority.issue("server")
    nowhere = tmp_path / "nowhere.pem"
    for line, setting in (
        (refusal(shown._replace(cert=nowhere)), "PDP_TLS_CERT"),
        (refusal(shown._replace(key=nowhere)), "PDP_TLS_KEY"),
        (refusal(shown, nowhere), "PDP_TLS_CLIENT_CA"),
    ):
        assert line == f"{setting}: cannot read `{nowhere}`: no such file or directory"
    assert "is a directory" in refusal(shown._replace(cert=tmp_path))


def test_files_of_another_kind_are_named(authority: Authority, tmp_path: Path) -> None:
    shown = authority.issue("server")
    diary = tmp_path / "diary.txt"
    diary.write_text("dear diary")
    lines = [
        refusal(shown._replace(cert=diary)),
        refusal(shown._replace(cert=shown.key)),
        refusal(shown._replace(key=diary)),
        refusal(shown._replace(key=shown.cert)),
        refusal(shown, diary),
    ]
    settings = [line.partition(":")[0] for line in lines]
    assert settings == [*["PDP_TLS_CERT"] * 2, *["PDP_TLS_KEY"] * 2, "PDP_TLS_CLIENT_CA"]
    assert not any("dear" in line for line in lines)


@pytest.mark.parametrize(
    ("was", "becomes", "setting"),
    [
        ("a003020102", "a003020107", "PDP_TLS_CERT"),  # Its version.
        ("0603551d0f", "0603551d23", "PDP_TLS_CERT"),  # An extension, twice.
        ("a003020102", "a003020107", "PDP_TLS_CLIENT_CA"),
    ],
)
def test_a_malformed_certificate_is_refused(
    authority: Authority, was: str, becomes: str, setting: str
) -> None:
    shown = authority.issue("server")
    file = shown.cert if setting == "PDP_TLS_CERT" else authority.ca
    der = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
    assert der.count(bytes.fromhex(was)) == 1
    malformed = base64.encodebytes(der.replace(bytes.fromhex(was), bytes.fromhex(becomes)))
    file.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + malformed + b"-----END CERTIFICATE-----\n")
    assert refusal(shown, authority.ca).startswith(f"{setting}: `{file}` has ")


def test_the_key_must_be_the_certificates(authority: Authority) -> None:
    shown, other = authority.issue("server"), authority.issue("other")
    line = refusal(Shown(shown.cert, other.key))
    assert line == f"PDP_TLS_KEY: `{other.key}` is not the key of the certificate in PDP_TLS_CERT"


def test_an_encrypted_key_is_refused_and_asks_nobody(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    shown = self_signed(tmp_path, key, encryption=BestAvailableEncryption(b"hush"))
    assert "is encrypted" in refusal(shown)


def test_it_must_be_its_time(authority: Authority) -> None:
    assert "expired at 20" in refusal(authority.issue("old", ends=-DAY))
    assert "is not valid before 20" in refusal(authority.issue("early", starts=DAY))


def test_a_ca_must_have_time_left(authority: Authority) -> None:
    shown = authority.issue("server")
    with pytest.raises(StartRefused, match=r"PDP_TLS_CLIENT_CA: .* has no certificate that has"):
        load(TlsFiles("server", None, None, files_of(shown, shown.cert).ca), NOW + 3 * DAY)


@pytest.mark.parametrize(("use", "other"), [("server", "client"), ("client", "server")])
def test_it_must_be_for_what_it_is_used_for(tmp_path: Path, use: Use, other: Use) -> None:
    oids = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    shown = self_signed(tmp_path, ec.generate_private_key(ec.SECP256R1()), [oids[use]])
    settings = Settings(
        control_tls_cert=shown.cert, control_tls_key=shown.key, control_tls_ca=shown.cert
    )
    good, bad = line_files(settings, use), line_files(settings, other)
    assert good is not None
    assert bad is not None
    assert load(good, NOW).cert
    with pytest.raises(StartRefused, match=f"PDP_CONTROL_TLS_CERT: .*lacks `{other}Auth`"):
        load(bad, NOW)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (("tls_cert",), "PDP_TLS_KEY"),
        (("tls_key",), "PDP_TLS_CERT"),
        (("tls_client_ca",), "PDP_TLS_CERT"),
        (("control_tls_ca",), "PDP_CONTROL_TLS_CERT"),
        (("control_tls_cert",), "PDP_CONTROL_TLS_KEY"),
        (("control_tls_key", "control_tls_ca"), "PDP_CONTROL_TLS_CERT"),
        (("control_tls_cert", "control_tls_key"), "PDP_CONTROL_TLS_CA"),
    ],
)
def test_half_of_it_is_refused(given: tuple[str, ...], missing: str) -> None:
    settings = replace(Settings(), **dict.fromkeys(given, Path("x.pem")))
    look = line_files if missing.startswith("PDP_CONTROL") else lambda found, _: port_files(found)
    with pytest.raises(StartRefused) as refused:
        look(settings, "server")
    assert str(refused.value).startswith(f"{missing}: needed because PDP_")


def test_without_settings_there_is_no_tls() -> None:
    assert port_files(Settings()) is None
    assert line_files(Settings(), "client") is None


def test_an_empty_name_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PDP_TLS_KEY", "")
    with pytest.raises(StartRefused, match="PDP_TLS_KEY: is empty: name a file, or unset it"):
        load_settings()


def test_files_that_change_are_read_again(authority: Authority) -> None:
    renewed = Renewed(files_of(authority.issue("server"), authority.ca), lambda: NOW)
    before = renewed.pems
    renewed.renew()
    assert renewed.pems is before
    authority.issue("server")
    renewed.renew()
    after = renewed.pems
    assert after.cert != before.cert
    renewed.renew()
    assert renewed.pems is after


def test_a_secret_that_kubernetes_swaps_is_read_again(authority: Authority, tmp_path: Path) -> None:
    """Files are links over a link to a folder, and that one is replaced."""
    for each in ("one", "two"):
        (tmp_path / each).mkdir()
        shown = authority.issue(each)
        shown.cert.rename(tmp_path / each / "tls.crt")
        shown.key.rename(tmp_path / each / "tls.key")
    (tmp_path / "..data").symlink_to("one")
    mounted = Shown(tmp_path / "tls.crt", tmp_path / "tls.key")
    for path in mounted:
        path.symlink_to(Path("..data") / path.name)
    renewed = Renewed(files_of(mounted), lambda: NOW)
    before = renewed.pems
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "..data")
    renewed.renew()
    assert (before.cert, renewed.pems.cert) == tuple(
        (tmp_path / each / "tls.crt").read_bytes() for each in ("one", "two")
    )


def test_a_change_for_the_worse_is_told_once_and_passed_over(authority: Authority) -> None:
    shown = authority.issue("server")
    renewed = Renewed(files_of(shown), lambda: NOW)
    before = renewed.pems
    shown.key.write_text("half a ke")
    with capture_logs() as log:
        renewed.renew()
        renewed.renew()
    assert [each["log_level"] for each in log] == ["warning"]
    assert "PDP_TLS_KEY" in log[0]["reason"]
    assert "half a ke" not in str(log)
    assert renewed.pems is before
    authority.issue("server")
    renewed.renew()
    assert renewed.pems is not before


def test_a_change_that_is_valid_only_later_is_taken_then(authority: Authority) -> None:
    now = datetime.now(UTC)  # Certificates are made from now on, the module a while ago.
    renewed = Renewed(files_of(authority.issue("server")), lambda: now)
    before = renewed.pems
    authority.issue("server", starts=timedelta(minutes=1))
    with capture_logs() as log:
        renewed.renew()
        renewed.renew()
        assert renewed.pems is before
        now += timedelta(minutes=2)
        renewed.renew()
    assert renewed.pems is not before
    assert [each["log_level"] for each in log] == ["warning", "info"]


def test_files_that_are_just_being_replaced_are_read_again(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, other = authority.issue("server"), authority.issue("other")
    files = files_of(Shown(shown.cert, other.key))
    states = iter([1, 2, 2, 2])

    def state(_: TlsFiles) -> int:
        now = next(states)
        if now == 2:
            other.key.write_bytes(shown.key.read_bytes())
        return now

    monkeypatch.setattr(TlsFiles, "state", state)
    assert load(files, NOW).key == shown.key.read_bytes()


def test_when_certificates_expire_is_a_metric(authority: Authority) -> None:
    renewed = Renewed(files_of(authority.issue("server")), lambda: NOW)
    (family,) = CertificateCollector({"grpc": renewed, "control": None}).collect()
    before = family.samples
    authority.issue("server", ends=9 * DAY)
    (family,) = CertificateCollector({"grpc": renewed, "control": None}).collect()
    (sample,) = family.samples
    assert (sample.name, sample.labels) == (EXPIRY, {"port": "grpc"})
    assert sample.value - before[0].value == pytest.approx(7 * DAY.total_seconds(), abs=60)
