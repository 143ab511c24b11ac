"""Entra's bearer token, checked as its documentation asks, by PyJWT."""

import json
import time
import urllib.request
from typing import Annotated, Any

import jwt
from cachetools import TLRUCache
from fastapi import Header, HTTPException

import settings

LEEWAY_SECONDS = 60

with urllib.request.urlopen(settings.METADATA_URL, timeout=5) as response:
    metadata = json.load(response)

keys = jwt.PyJWKClient(metadata["jwks_uri"], cache_keys=True)
keys.get_signing_keys()


def _expiry(_token: str, claims: dict[str, Any], _now: float) -> float:
    return claims["exp"] + LEEWAY_SECONDS


cache: TLRUCache[str, dict[str, Any]] | None = (
    TLRUCache(maxsize=10_000, ttu=_expiry, timer=time.time) if settings.TOKEN_CACHE else None
)


def verify(token: str) -> dict[str, Any]:
    """The claims of a token, or an error of PyJWT."""
    claims: dict[str, Any] = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["RS256"],
        audience=settings.AUDIENCE,
        issuer=metadata["issuer"],
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "nbf", "iss", "aud"]},
    )
    if (claims.get("ver"), claims.get("azp"), claims.get("tid")) != ("2.0", settings.CALLER, settings.TENANT_ID):
        raise jwt.InvalidTokenError("ver, azp or tid is not the expected one")
    return claims


async def authenticate(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
    """The claims of the request's token. A token that was verified before is not verified again until it expires."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(401, "no bearer token")
    if cache is not None and (known := cache.get(token)) is not None:
        return known
    try:
        claims = verify(token)
    except jwt.PyJWTError as error:
        raise HTTPException(401, "the token is refused") from error
    if cache is not None:
        cache[token] = claims
    return claims
