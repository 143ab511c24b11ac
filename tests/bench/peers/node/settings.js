// What the benchmark tells every subject, from the environment.

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`the environment variable ${name} is missing`);
  return value;
};

export const settings = {
  port: Number(required('PORT')),
  metadataUrl: required('METADATA_URL'),
  audience: required('AUDIENCE'),
  tenantId: required('TENANT_ID'),
  caller: required('CALLER'),
  tokenCache: process.env.TOKEN_CACHE === 'on',
};
