"""Functions of sprig that make keys and certificates: refused unless giterminism is loose. They need `cryptography`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from conveyor.config.template.functions import FunctionError, Runtime, declare, refuse_unrepeatable
from conveyor.config.template.sprig.ciphers import package_missing
from conveyor.config.template.sprig.encodings import read_base64
from conveyor.config.template.values import Object, Value, raw
from conveyor.config.template.values import text as as_text

if TYPE_CHECKING:
    from cryptography import x509

_WHY = "is another one in every run"
_RSA_BITS = 2048
_KINDS = {"RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "PRIVATE KEY"}

Names = list[Value] | None


class Certificate(Object):
    """A certificate and its key, both PEM."""

    __slots__ = ("_fields",)
    go_type = "sprig.certificate"

    def __init__(self, certificate: str, key: str) -> None:
        self._fields = {"Cert": certificate, "Key": key}

    def fields(self) -> Mapping[str, Value]:
        """`Cert`, `Key`."""
        return self._fields


def build_custom(certificate: str, key: str) -> Certificate:
    """A certificate and a key of one's own, given in base 64."""
    decoded = []
    for part, what in ((certificate, "certificate"), (key, "private key")):
        try:
            decoded.append(as_text(read_base64(part)))
        except FunctionError:
            raise FunctionError(f"unable to decode base64 {what}") from None
    _load_certificate(decoded[0])
    try:
        _load_key(decoded[1])
    except FunctionError as error:
        raise FunctionError(f"error parsing private key: {error}") from None
    return Certificate(decoded[0], decoded[1])


def private_key(runtime: Runtime, kind: str) -> str:
    """A private key, PEM: `rsa` (also ""), `dsa`, `ecdsa` or `ed25519`."""
    refuse_unrepeatable(runtime, "genPrivateKey", _WHY)
    asymmetric = _asymmetric("genPrivateKey")
    if kind in ("", "rsa"):
        return _pem(asymmetric.rsa.generate_private_key(65537, 4096))
    if kind == "dsa":
        return _pem(asymmetric.dsa.generate_private_key(2048))
    if kind == "ecdsa":
        return _pem(asymmetric.ec.generate_private_key(asymmetric.ec.SECP256R1()))
    if kind == "ed25519":
        return _pem(asymmetric.ed25519.Ed25519PrivateKey.generate())
    return f"Unknown type {kind}"


def authority(runtime: Runtime, name: str, days: int) -> Certificate:
    """A certificate authority."""
    refuse_unrepeatable(runtime, "genCA", _WHY)
    return _issue(_new_key("genCA"), name, None, None, days, is_authority=True)


def authority_with_key(runtime: Runtime, name: str, days: int, key: str) -> Certificate:
    """A certificate authority of a given key."""
    refuse_unrepeatable(runtime, "genCAWithKey", _WHY)
    return _issue(_given_key(key), name, None, None, days, is_authority=True)


def self_signed(runtime: Runtime, name: str, addresses: Names, hosts: Names, days: int) -> Certificate:
    """A certificate that signs itself."""
    refuse_unrepeatable(runtime, "genSelfSignedCert", _WHY)
    return _issue(_new_key("genSelfSignedCert"), name, addresses, hosts, days)


def self_signed_with_key(runtime: Runtime, name: str, addresses: Names, hosts: Names, days: int, key: str) -> Certificate:
    """A certificate of a given key that signs itself."""
    refuse_unrepeatable(runtime, "genSelfSignedCertWithKey", _WHY)
    return _issue(_given_key(key), name, addresses, hosts, days)


def signed(runtime: Runtime, name: str, addresses: Names, hosts: Names, days: int, signer: Certificate) -> Certificate:
    """A certificate that an authority signs."""
    refuse_unrepeatable(runtime, "genSignedCert", _WHY)
    return _issue(_new_key("genSignedCert"), name, addresses, hosts, days, signer=signer)


def signed_with_key(
    runtime: Runtime, name: str, addresses: Names, hosts: Names, days: int, signer: Certificate, key: str
) -> Certificate:
    """A certificate of a given key that an authority signs."""
    refuse_unrepeatable(runtime, "genSignedCertWithKey", _WHY)
    return _issue(_given_key(key), name, addresses, hosts, days, signer=signer)


def _issue(
    key: Any,  # noqa: ANN401 - a private key of any kind
    name: str,
    addresses: Names,
    hosts: Names,
    days: int,
    *,
    is_authority: bool = False,
    signer: Certificate | None = None,
) -> Certificate:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    names = _alternative_names(addresses, hosts)
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    signing_key = key
    if signer is not None:
        signing = _load_certificate(str(signer.fields()["Cert"]))
        issuer = signing.subject
        try:
            signing_key = _load_key(str(signer.fields()["Key"]))
        except FunctionError as error:
            raise FunctionError(f"error parsing private key: {error}") from None
    start = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only", "decipher_only"), False
    )
    public = key.public_key()
    try:
        builder = (
            x509.CertificateBuilder(
                issuer, subject, public, x509.random_serial_number(), start, start + timedelta(days=days)
            )
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=is_authority, **usage), True
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), True)
        )
        if is_authority:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        else:
            authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
            builder = builder.add_extension(authority_id, False) if signer is not None else builder
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        algorithm = None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        certificate = builder.sign(signing_key, algorithm)
    except (ValueError, TypeError, OverflowError) as error:
        raise FunctionError(f"error creating certificate: {error}") from None
    return Certificate(certificate.public_bytes(Encoding.PEM).decode(), _pem(key))


def _alternative_names(addresses: Names, hosts: Names) -> list[x509.GeneralName]:
    from ipaddress import ip_address

    from cryptography import x509

    from conveyor.config.template.printing import print_value

    names: list[x509.GeneralName] = []
    for host in hosts or ():
        if not isinstance(host, str):
            raise FunctionError(f"error processing alternate dns name: {print_value(host)} is not a string")
        names.append(x509.DNSName(host))
    for address in addresses or ():
        if not isinstance(address, str):
            raise FunctionError(f"error parsing ip: {print_value(address)} is not a string")
        try:
            names.append(x509.IPAddress(ip_address(address)))
        except ValueError:
            raise FunctionError(f"error parsing ip: {address}") from None
    return names


def _new_key(function: str) -> Any:  # noqa: ANN401 - a private key of any kind
    return _asymmetric(function).rsa.generate_private_key(65537, _RSA_BITS)


def _given_key(pem: str) -> Any:  # noqa: ANN401 - a private key of any kind
    try:
        return _load_key(pem)
    except FunctionError as error:
        raise FunctionError(f"parsing private key: {error}") from None


def _asymmetric(function: str) -> Any:  # noqa: ANN401 - the modules of a package that may be absent
    try:
        from cryptography.hazmat.primitives import asymmetric
        from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa  # noqa: F401 - they stand in it then
    except ImportError:
        raise package_missing(function, "cryptography") from None
    return asymmetric


def _load_certificate(pem: str) -> x509.Certificate:
    try:
        from cryptography import x509
    except ImportError:
        raise package_missing("a function of certificates", "cryptography") from None
    if "-----BEGIN " not in pem:
        raise FunctionError("unable to decode certificate")
    try:
        return x509.load_pem_x509_certificate(raw(pem))
    except ValueError as error:
        raise FunctionError(f"error parsing certificate: decodedCert.Bytes: {error}") from None


def _load_key(pem: str) -> Any:  # noqa: ANN401 - a private key of any kind
    _asymmetric("a function of certificates")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    _, begins, rest = pem.partition("-----BEGIN ")
    kind = rest.partition("-----")[0]
    if not begins:
        raise FunctionError("no PEM data in input")
    if not kind.endswith("PRIVATE KEY"):
        raise FunctionError(f"no private key data in PEM block of type {kind}")
    if kind not in _KINDS:
        raise FunctionError(f"invalid private key type {kind.removesuffix(' PRIVATE KEY')}")
    try:
        return load_pem_private_key(raw(pem), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FunctionError(f"parsing {kind.removesuffix(' PRIVATE KEY')} private key from PEM: {error}") from None


def _pem(key: Any) -> str:  # noqa: ANN401 - a private key of any kind
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    old = isinstance(key, (rsa.RSAPrivateKey, dsa.DSAPrivateKey, ec.EllipticCurvePrivateKey))
    form = PrivateFormat.TraditionalOpenSSL if old else PrivateFormat.PKCS8
    return str(key.private_bytes(Encoding.PEM, form, NoEncryption()).decode())


FUNCTIONS = dict(
    (
        declare("buildCustomCert", "string string", build_custom),
        declare("genPrivateKey", "string", private_key, runtime=True),
        declare("genCA", "string int", authority, runtime=True),
        declare("genCAWithKey", "string int string", authority_with_key, runtime=True),
        declare("genSelfSignedCert", "string list list int", self_signed, runtime=True),
        declare("genSelfSignedCertWithKey", "string list list int string", self_signed_with_key, runtime=True),
        declare("genSignedCert", "string list list int sprig.certificate", signed, runtime=True),
        declare("genSignedCertWithKey", "string list list int sprig.certificate string", signed_with_key, runtime=True),
    )
)
