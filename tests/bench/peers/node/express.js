// Express: the body checked by ajv, set as Fastify sets it.

import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import express from 'express';

import { provideClaims } from './claims.js';
import * as schema from './schema.js';
import { settings } from './settings.js';
import { authenticate } from './token.js';

const ajv = new Ajv();
addFormats.default(ajv);
const isRequest = ajv.compile(schema.request);

const app = express();
app.disable('x-powered-by');
// An answer to a POST is not cached, so its hash is not wanted.
app.disable('etag');

app.get('/healthz', (_request, response) => {
  response.send('ok');
});

app.post(
  '/tenants/bench/extensions/claims',
  async (request, _response, next) => {
    request.token = await authenticate(request.headers.authorization);
    next();
  },
  express.json(),
  (request, response) => {
    const { body } = request;
    if (!isRequest(body)) return response.status(400).json({ error: ajv.errorsText(isRequest.errors) });
    if (body.data.tenantId !== request.token.tid) return response.status(400).json({ error: 'tenantId' });
    response.json(provideClaims(body.data.authenticationContext));
  },
);

app.use((error, _request, response, _next) => {
  const status = error.statusCode ?? 500;
  if (status === 500) console.error(error);
  response.status(status).json({ error: error.message });
});

const server = app.listen(settings.port, '127.0.0.1', (error) => {
  if (error) throw error;
});
// As Fastify has it: Node's own five seconds end connections of a client that pauses.
server.keepAliveTimeout = 72_000;
process.once('SIGTERM', () => server.close());
