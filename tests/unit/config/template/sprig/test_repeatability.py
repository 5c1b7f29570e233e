"""What another run or machine would give otherwise is refused, unless giterminism is loose; then it works."""

from __future__ import annotations

import re
import sys
import time

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

DATE = '(toDate "2006-01-02" "2024-02-20")'
VOLATILE = {
    "now": "{{now.Year}}",
    "ago": "{{ago " + DATE + "}}",
    "durationRound of a time": "{{durationRound " + DATE + "}}",
    "date of what is no time": '{{date "2006" "today"}}',
    "htmlDate of what is no time": "{{htmlDate nil}}",
    "randInt": "{{randInt 0 9}}",
    "randBytes": "{{randBytes 3}}",
    "randAlpha": "{{randAlpha 3}}",
    "randAlphaNum": "{{randAlphaNum 3}}",
    "randAscii": "{{randAscii 3}}",
    "randNumeric": "{{randNumeric 3}}",
    "shuffle": '{{shuffle "ab"}}',
    "uuidv4": "{{uuidv4}}",
    "getHostByName": '{{getHostByName "localhost"}}',
    "bcrypt": '{{bcrypt "a"}}',
    "htpasswd": '{{htpasswd "u" "a"}}',
    "encryptAES": '{{encryptAES "k" "a"}}',
    "genPrivateKey": '{{genPrivateKey "ed25519"}}',
    "genCA": '{{(genCA "a" 1).Cert}}',
    "genCAWithKey": '{{(genCAWithKey "a" 1 .key).Cert}}',
    "genSelfSignedCert": '{{(genSelfSignedCert "a" nil nil 1).Cert}}',
    "genSelfSignedCertWithKey": '{{(genSelfSignedCertWithKey "a" nil nil 1 .key).Cert}}',
}


@pytest.fixture(scope="module")
def root():
    return {"key": give('{{genPrivateKey "ecdsa"}}', loose=True)}


@pytest.mark.parametrize("name", VOLATILE)
def test_it_is_refused_with_the_reason_and_the_way_out(name):
    message = fail(VOLATILE[name], {"key": ""})
    assert f"{name} is not allowed by giterminism: its result " in message
    assert "(--loose-giterminism allows it)" in message


@pytest.mark.parametrize("name", VOLATILE)
def test_it_works_where_giterminism_is_loose(name, root):
    assert give(VOLATILE[name], root, loose=True)


def test_results_of_chance_have_the_form_that_was_asked_for():
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", give("{{uuidv4}}", loose=True))
    assert re.fullmatch("[A-Za-z]{40}", give("{{randAlpha 40}}", loose=True))
    assert re.fullmatch("[0-9]{40}", give("{{randNumeric 40}}", loose=True))
    assert re.fullmatch("[A-Za-z0-9]{40}", give("{{randAlphaNum 40}}", loose=True))
    assert re.fullmatch("[ -~]{40}", give("{{randAscii 40}}", loose=True))
    assert give("{{randAlpha -1}}|{{randAlpha 0}}", loose=True) == "|"
    assert give("{{randBytes 30 | b64dec | len}}", loose=True) == "30"
    assert give("{{randInt 7 8}}", loose=True) == "7"
    assert sorted(give('{{shuffle "hello"}}', loose=True)) == sorted("hello")
    assert fail("{{randInt 5 5}}", loose=True).endswith("error calling randInt: invalid argument to Intn")


def test_the_local_zone_is_utc_unless_giterminism_is_loose(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        source = '{{date "15:04 MST" 0}} {{toDate "2006" "1970" | unixEpoch}} {{dateInZone "15:04" 0 "Local"}}'
        assert give(source) == "00:00 UTC 0 00:00"
        assert give(source, loose=True) == "09:00 JST -32400 09:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_authority_signs_a_certificate():
    from cryptography import x509

    pem = give(
        '{{$ca := genCA "my-ca" 365}}{{$c := genSignedCert "x.com" (list "10.0.0.1") (list "a.x.com") 30 $ca}}'
        "{{$ca.Cert}}{{$c.Cert}}{{(buildCustomCert ($c.Cert | b64enc) ($c.Key | b64enc)).Key}}",
        loose=True,
    )
    authority, certificate = x509.load_pem_x509_certificates(pem.encode())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.x.com"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert pem.rstrip().endswith("-----END RSA PRIVATE KEY-----")


def test_mistakes_of_certificates_name_the_part():
    loose = {"loose": True}
    assert fail('{{genSelfSignedCert "a" (list 1) nil 1}}', **loose).endswith("error parsing ip: 1 is not a string")
    assert fail('{{genSelfSignedCert "a" (list "x") nil 1}}', **loose).endswith("error parsing ip: x")
    assert fail('{{genCAWithKey "a" 1 "x"}}', **loose).endswith("parsing private key: no PEM data in input")
    assert fail('{{buildCustomCert "!" ""}}').endswith("unable to decode base64 certificate")
    assert fail('{{buildCustomCert "YQ==" "YQ=="}}').endswith("unable to decode certificate")
    assert give('{{genPrivateKey "x"}}', **loose) == "Unknown type x"


def test_passwords():
    import bcrypt

    user, _, hashed = give('{{htpasswd "u" "secret"}}', loose=True).partition(":")
    assert user == "u"
    assert bcrypt.checkpw(b"secret", hashed.encode())
    assert give('{{htpasswd "a:b" "x"}}', loose=True) == "invalid username: a:b"
    assert "password length exceeds 72 bytes" in give('{{bcrypt (repeat 73 "x")}}', loose=True)
    assert give('{{encryptAES "key" "some texté" | decryptAES "key"}}', loose=True) == "some texté"
    assert give('{{decryptAES "mykey" "4sJ0ZDIzg4X0RBlox+LlI1A/g5dAacbaQqWX1yiZlck="}}') == "plain text"  # Go encrypted it
    assert fail('{{decryptAES "k" "YWJj"}}').startswith("template: werfConfig:1:2:")


@pytest.mark.parametrize(
    ("source", "function", "package"),
    [
        ('{{bcrypt "a"}}', "bcrypt", "bcrypt"),
        ('{{encryptAES "k" "a"}}', "encryptAES", "cryptography"),
        ('{{decryptAES "k" "4sJ0ZDIzg4X0RBlox+LlI1A/g5dAacbaQqWX1yiZlck="}}', "decryptAES", "cryptography"),
        ('{{(genCA "a" 1).Cert}}', "genCA", "cryptography"),
        ('{{genPrivateKey "rsa"}}', "genPrivateKey", "cryptography"),
    ],
)
def test_a_package_that_is_not_installed_is_named(source, function, package, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bcrypt", "cryptography")]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("bcrypt", "cryptography.hazmat.primitives.ciphers", "cryptography.hazmat.primitives.asymmetric"):
        monkeypatch.setitem(sys.modules, name, None)
    assert fail(source, loose=True).endswith(f"{function} needs the package {package}: pip install 'conveyor-build[sprig]'")
