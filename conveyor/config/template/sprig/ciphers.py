"""Functions of sprig over passwords: hashes, derived passwords, AES.

bcrypt and AES come from packages of the extra `sprig`. What uses a random salt is refused unless giterminism is loose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from conveyor.config.template.functions import FunctionError, Runtime, check_text, declare, refuse_unrepeatable
from conveyor.config.template.sprig.encodings import encode_base64, read_base64
from conveyor.config.template.values import raw
from conveyor.config.template.values import text as as_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

_SALTED = "holds another random salt in every run"
_BLOCK = 16
_KEY = 32
_LONGEST_BCRYPT = 72
_COST = 10

# The Master Password algorithm: templates of each kind of password, and the characters that each letter of one stands for.
_SEED = b"com.lyndir.masterpassword"
_TEMPLATES = {
    "maximum": "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno",
    "long": (
        "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv CvccCvcvCvcvno CvcvnoCvccCvcv"
        " CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc CvcvCvcvnoCvcc CvcvCvcvCvccno CvccnoCvccCvcv CvccCvccnoCvcv"
        " CvccCvccCvcvno CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno CvccnoCvcvCvcc CvccCvcvnoCvcc CvccCvcvCvccno"
    ),
    "medium": "CvcnoCvc CvcCvcno",
    "short": "Cvcn",
    "basic": "aaanaaan aannaaan aaannaaa",
    "pin": "nnnn",
}
_VOWELS, _CONSONANTS = "AEIOU", "BCDFGHJKLMNPQRSTVWXYZ"
_LETTERS = _VOWELS + _VOWELS.lower() + _CONSONANTS + _CONSONANTS.lower()
_CHARACTERS = {
    "V": _VOWELS,
    "C": _CONSONANTS,
    "v": _VOWELS.lower(),
    "c": _CONSONANTS.lower(),
    "A": _VOWELS + _CONSONANTS,
    "a": _LETTERS,
    "n": "0123456789",
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
    "x": _LETTERS + "0123456789!@#$%^&*()",
}


def hash_bcrypt(runtime: Runtime, password: str) -> str:
    """The bcrypt hash of a password; the text of the error where it has none."""
    refuse_unrepeatable(runtime, "bcrypt", _SALTED)
    return _bcrypt(password)


def htpasswd(runtime: Runtime, user: str, password: str) -> str:
    """A line of a file of passwords of Apache, with bcrypt."""
    refuse_unrepeatable(runtime, "htpasswd", _SALTED)
    if ":" in user:
        return f"invalid username: {user}"
    return f"{user}:{_bcrypt(password)}"


def derive_password(counter: int, kind: str, password: str, user: str, site: str) -> str:
    """The password of a site by the Master Password algorithm."""
    if kind not in _TEMPLATES:
        return f"cannot find password template {kind}"
    salt = _SEED + len(raw(user)).to_bytes(4, "big") + raw(user)
    key = hashlib.scrypt(raw(password), salt=salt, n=32768, r=8, p=2, maxmem=1 << 26, dklen=64)
    message = _SEED + len(raw(site)).to_bytes(4, "big") + raw(site) + int(counter).to_bytes(4, "big")
    seed = hmac.digest(key, message, "sha256")
    templates = _TEMPLATES[kind].split()
    template = templates[seed[0] % len(templates)]
    alphabets = [_CHARACTERS[letter] for letter in template]
    return "".join(alphabet[byte % len(alphabet)] for alphabet, byte in zip(alphabets, seed[1:], strict=False))


def encrypt_aes(runtime: Runtime, password: str, text: str) -> str:
    """AES-256-CBC with a random vector before it, in base 64."""
    if not text:
        return ""
    refuse_unrepeatable(runtime, "encryptAES", "holds another random vector in every run")
    check_text(len(text) * 2)
    vector = secrets.token_bytes(_BLOCK)
    data = raw(text)
    missing = _BLOCK - len(data) % _BLOCK
    encryptor = _cipher("encryptAES", password, vector).encryptor()
    return encode_base64(as_text(vector + encryptor.update(data + bytes((missing,)) * missing) + encryptor.finalize()))


def decrypt_aes(password: str, encrypted: str) -> str:
    """What `encryptAES` had encrypted."""
    if not encrypted:
        return ""
    data = read_base64(encrypted)
    if len(data) < _BLOCK:
        raise FunctionError(f"runtime error: slice bounds out of range [:{_BLOCK}] with capacity {len(data)}")
    if len(data) % _BLOCK:
        raise FunctionError("crypto/cipher: input not full blocks")
    if len(data) == _BLOCK:
        raise FunctionError("runtime error: index out of range [-1]")
    decryptor = _cipher("decryptAES", password, data[:_BLOCK]).decryptor()
    text = decryptor.update(data[_BLOCK:]) + decryptor.finalize()
    if text[-1] > len(text):
        raise FunctionError(f"runtime error: slice bounds out of range [:{len(text) - text[-1]}]")
    return as_text(text[: len(text) - text[-1]])


def package_missing(name: str, package: str) -> FunctionError:
    """The error of a function whose package is not installed."""
    return FunctionError(f"{name} needs the package {package}: pip install 'conveyor-build[sprig]'")


def _bcrypt(password: str) -> str:
    try:
        import bcrypt
    except ImportError:
        raise package_missing("bcrypt", "bcrypt") from None
    if len(raw(password)) > _LONGEST_BCRYPT:
        return f"failed to encrypt string with bcrypt: bcrypt: password length exceeds {_LONGEST_BCRYPT} bytes"
    return bcrypt.hashpw(raw(password), bcrypt.gensalt(_COST, prefix=b"2a")).decode()


def _cipher(name: str, password: str, vector: bytes) -> Cipher[modes.CBC]:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError:
        raise package_missing(name, "cryptography") from None
    key = raw(password)[:_KEY].ljust(_KEY, b"\0")
    return Cipher(algorithms.AES(key), modes.CBC(vector))


FUNCTIONS = dict(
    (
        declare("bcrypt", "string", hash_bcrypt, runtime=True, each=1_000_000),
        declare("htpasswd", "string string", htpasswd, runtime=True, each=700_000),
        # A tenth of a second each, however short the texts are.
        declare("derivePassword", "uint32 string string string string", derive_password, walks=4, each=500_000),
        declare("encryptAES", "string string", encrypt_aes, runtime=True),
        declare("decryptAES", "string string", decrypt_aes, walks=1),
    )
)
