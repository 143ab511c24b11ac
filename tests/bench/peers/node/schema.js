// Entra's tokenIssuanceStart request and its answer, as JSON schemas (draft 7). Members that are not named are allowed,
// since Entra adds some over time, and `null` is as good as absent for those that may be missing.

const text = { type: 'string', nullable: true };
const guid = { type: 'string', format: 'uuid' };

const servicePrincipal = {
  type: 'object',
  nullable: true,
  properties: {
    id: { ...guid, nullable: true },
    appId: { ...guid, nullable: true },
    appDisplayName: text,
    displayName: text,
  },
};

const user = {
  type: 'object',
  nullable: true,
  properties: {
    companyName: text,
    createdDateTime: text,
    displayName: text,
    givenName: text,
    id: text,
    mail: text,
    onPremisesSamAccountName: text,
    onPremisesSecurityIdentifier: text,
    onPremisesUserPrincipalName: text,
    preferredDataLocation: text,
    preferredLanguage: text,
    surname: text,
    userPrincipalName: text,
    userType: text,
  },
};

export const request = {
  type: 'object',
  required: ['type', 'source', 'data'],
  properties: {
    type: { type: 'string', const: 'microsoft.graph.authenticationEvent.tokenIssuanceStart' },
    source: { type: 'string' },
    data: {
      type: 'object',
      required: [
        '@odata.type',
        'tenantId',
        'authenticationEventListenerId',
        'customAuthenticationExtensionId',
        'authenticationContext',
      ],
      properties: {
        '@odata.type': { type: 'string', const: 'microsoft.graph.onTokenIssuanceStartCalloutData' },
        tenantId: guid,
        authenticationEventListenerId: guid,
        customAuthenticationExtensionId: guid,
        authenticationContext: {
          type: 'object',
          required: ['correlationId'],
          properties: {
            correlationId: guid,
            client: {
              type: 'object',
              nullable: true,
              properties: { ip: text, locale: text, market: text },
            },
            protocol: text,
            requestType: text,
            clientServicePrincipal: servicePrincipal,
            resourceServicePrincipal: servicePrincipal,
            user,
          },
        },
      },
    },
  },
};

export const answer = {
  type: 'object',
  required: ['data'],
  properties: {
    data: {
      type: 'object',
      required: ['@odata.type', 'actions'],
      properties: {
        '@odata.type': { type: 'string' },
        actions: {
          type: 'array',
          items: {
            type: 'object',
            required: ['@odata.type', 'claims'],
            properties: {
              '@odata.type': { type: 'string' },
              claims: { type: 'object', additionalProperties: { type: 'string' } },
            },
          },
        },
      },
    },
  },
};
