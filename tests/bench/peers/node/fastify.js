// Fastify: the body checked by its own ajv, the answer written by its own serialiser.

import Fastify from 'fastify';

import { provideClaims } from './claims.js';
import * as schema from './schema.js';
import { settings } from './settings.js';
import { authenticate } from './token.js';

const app = Fastify({
  logger: false,
  // Fastify's defaults turn what has a wrong type into the right one, and drop members.
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
});
app.decorateRequest('token', null);

app.get('/healthz', () => 'ok');

app.post('/tenants/bench/extensions/claims', {
  schema: { body: schema.request, response: { 200: schema.answer } },
  async onRequest(request) {
    request.token = await authenticate(request.headers.authorization);
  },
  async handler(request, reply) {
    const { data } = request.body;
    if (data.tenantId !== request.token.tid) return reply.code(400).send({ error: 'tenantId' });
    return provideClaims(data.authenticationContext);
  },
});

process.once('SIGTERM', () => app.close());
await app.listen({ host: '127.0.0.1', port: settings.port });
