"""Writes vectors.json: password contexts made by another implementation (jwcrypto) than the one under test.

    pip install jwcrypto==1.5.6 && python vectors.py > vectors.json
"""

import base64, hashlib, json, zlib
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as ser
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from jwcrypto import jwe, jwk

IAT = 1_800_000_000
AUDIENCE = "a1b2c3d4-0000-4000-8000-0000000000d1"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pair(bits=2048):
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "password migration")])
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(7).not_valid_before(start).not_valid_after(start + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def pem(key, encryption=ser.NoEncryption(), form=ser.PrivateFormat.PKCS8):
    return key.private_bytes(ser.Encoding.PEM, form, encryption).decode()


def token(header={"alg": "none", "typ": "JWT"}, signature="", drop=(), **claims):
    whole = {
        "user-password": "correct horse \"battery\" staple \u00e9", "username": "lin@example.org",
        "nonce": "7f0a2c1e-0000-4000-8000-00000000abcd", "aud": AUDIENCE, "iss": "api://127.0.0.1/" + AUDIENCE,
        "iat": IAT, "nbf": IAT, "exp": IAT + 600, **claims,
    }
    whole = {name: value for name, value in whole.items() if name not in drop}
    return ".".join([b64(json.dumps(header).encode()), b64(json.dumps(whole).encode()), signature])


def encrypt(key, text, **header):
    whole = {"alg": "RSA-OAEP", "enc": "A128CBC-HS256", "x5t": X5T, "zip": "DEF", **header}
    whole = {name: value for name, value in whole.items() if value is not None}
    made = jwe.JWE(text, json.dumps(whole), algs=[whole["alg"], whole["enc"]])
    made.add_recipient(jwk.JWK.from_pem(key.public_key().public_bytes(
        ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo)))
    return made.serialize(compact=True)


key, certificate = pair()
other, other_certificate = pair()
short, _ = pair(1024)
der = certificate.public_bytes(ser.Encoding.DER)
X5T = b64(hashlib.sha1(der).digest())
good = token()
contexts = [
    (f"{alg}, {enc}, zip {zip_}", encrypt(key, good, alg=alg, enc=enc, zip=zip_), "ok")
    for alg in ("RSA-OAEP", "RSA-OAEP-256") for enc in ("A128CBC-HS256", "A256GCM") for zip_ in ("DEF", None)
] + [
    ("named by x5t in hexadecimal", encrypt(key, good, x5t=hashlib.sha1(der).hexdigest().upper()), "ok"),
    ("named by x5t#S256", encrypt(key, good, x5t=None, **{"x5t#S256": b64(hashlib.sha256(der).digest())}), "ok"),
    ("named by kid", encrypt(key, good, x5t=None, kid="migration-2026"), "ok"),
    ("audience in upper case", encrypt(key, token(aud=AUDIENCE.upper())), "ok"),
    ("names no key", encrypt(key, good, x5t=None), "not configured (none)"),
    ("names another key", encrypt(key, good, x5t="AAAA"), 'not configured (x5t "AAAA")'),
    ("encrypted for another key", encrypt(other, good), "cannot be decrypted"),
    ("A192CBC-HS384", encrypt(key, good, enc="A192CBC-HS384"), "its enc is not accepted"),
    ("A128GCM", encrypt(key, good, enc="A128GCM"), "its enc is not accepted"),
    ("RSA1_5", encrypt(key, good, alg="RSA1_5"), "its alg is not accepted"),
    ("signed", encrypt(key, token(header={"alg": "RS256"}, signature="c2ln")), "it is signed"),
    ("says none but is signed", encrypt(key, token(signature="c2ln")), "it is signed"),
    ("not a token", encrypt(key, "correct horse"), "three parts"),
    ("another audience", encrypt(key, token(aud="a1b2c3d4-0000-4000-8000-0000000000d2")), "aud"),
    ("audiences as an array", encrypt(key, token(aud=[AUDIENCE])), "expected `user-password`"),
    ("no nonce", encrypt(key, token(drop=["nonce"])), "expected `user-password`"),
    ("an empty nonce", encrypt(key, token(nonce="")), "its nonce"),
    ("a long nonce", encrypt(key, token(nonce="n" * 129)), "its nonce"),
    ("no password", encrypt(key, token(drop=["user-password"])), "expected `user-password`"),
    ("a number as password", encrypt(key, token(**{"user-password": 12345678})), "expected `user-password`"),
    ("no user name", encrypt(key, token(drop=["username"])), "expected `user-password`"),
    ("no expiry", encrypt(key, token(drop=["exp"])), "expected `user-password`"),
    ("a fraction as expiry", encrypt(key, token(exp=IAT + 0.5)), "expected `user-password`"),
    ("text as expiry", encrypt(key, token(exp="soon")), "expected `user-password`"),
    ("expired long ago", encrypt(key, token(exp=IAT - 600)), "expired"),
    ("not valid yet", encrypt(key, token(nbf=IAT + 600)), "valid in"),
    ("inflates to a megabyte", encrypt(key, token(**{"user-password": "x" * 1_000_000})), "larger than 16384 bytes"),
]
print(json.dumps({
    "now": IAT + 1,
    "audience": AUDIENCE,
    "username": "lin@example.org",
    "password": "correct horse \"battery\" staple \u00e9",
    "nonce": "7f0a2c1e-0000-4000-8000-00000000abcd",
    "x5t": X5T,
    "keys": {
        "pkcs8": pem(key),
        "pkcs1": pem(key, form=ser.PrivateFormat.TraditionalOpenSSL),
        "encrypted": pem(key, ser.BestAvailableEncryption(b"open sesame")),
        "certificate": certificate.public_bytes(ser.Encoding.PEM).decode(),
        "other_certificate": other_certificate.public_bytes(ser.Encoding.PEM).decode(),
        "short": pem(short),
        "pkcs12": base64.b64encode(pkcs12.serialize_key_and_certificates(
            b"migration", key, certificate, None, ser.BestAvailableEncryption(b"open sesame"))).decode(),
    },
    "contexts": [{"name": name, "jwe": text, "expect": expect} for name, text, expect in contexts],
}, indent=1))
