// The three rules of scenario/rules.toml, and the answer that carries what they make.

export function provideClaims({ user, clientServicePrincipal }) {
  const claims = {};
  const domain = /@(.+)$/.exec(user?.mail ?? '')?.[1];
  if (domain) claims.mail_domain = domain.toLowerCase();
  claims.company = user?.companyName || 'none';
  if (clientServicePrincipal?.appId) claims.application = clientServicePrincipal.appId;

  return {
    data: {
      '@odata.type': 'microsoft.graph.onTokenIssuanceStartResponseData',
      actions: [{ '@odata.type': 'microsoft.graph.tokenIssuanceStart.provideClaimsForToken', claims }],
    },
  };
}
