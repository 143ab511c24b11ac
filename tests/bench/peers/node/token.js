// Entra's bearer token, checked as its documentation asks, by jose.

import { createRemoteJWKSet, jwtVerify } from 'jose';
import { LRUCache } from 'lru-cache';

import { settings } from './settings.js';

const LEEWAY_SECONDS = 60;
const BEARER = /^Bearer ([\w-]+\.[\w-]+\.[\w-]+)$/i;

export class Unauthorized extends Error {
  statusCode = 401;
}

const metadata = await fetch(settings.metadataUrl).then((response) => {
  if (!response.ok) throw new Error(`${settings.metadataUrl} answered ${response.status}`);
  return response.json();
});
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
await keys.reload();

const expected = {
  algorithms: ['RS256'],
  issuer: metadata.issuer,
  audience: settings.audience,
  clockTolerance: LEEWAY_SECONDS,
  requiredClaims: ['exp', 'nbf'],
};

async function verify(token) {
  const { payload } = await jwtVerify(token, keys, expected);
  if (payload.ver !== '2.0') throw new Unauthorized('ver');
  if (payload.azp !== settings.caller) throw new Unauthorized('azp');
  if (payload.tid !== settings.tenantId) throw new Unauthorized('tid');
  return payload;
}

const cache = settings.tokenCache ? new LRUCache({ max: 10_000 }) : null;

// The claims of the token in an `authorization` header. A token that was verified before is not verified again until
// it expires.
export async function authenticate(authorization) {
  const token = BEARER.exec(authorization)?.[1];
  if (!token) throw new Unauthorized('no bearer token');

  const known = cache?.get(token);
  if (known) return known;
  try {
    const payload = await verify(token);
    cache?.set(token, payload, { ttl: (payload.exp + LEEWAY_SECONDS) * 1000 - Date.now() });
    return payload;
  } catch (error) {
    throw error instanceof Unauthorized ? error : new Unauthorized('the token is refused', { cause: error });
  }
}
