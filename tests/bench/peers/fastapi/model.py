"""Entra's tokenIssuanceStart request and its answer.

Members that are not named are allowed, since Entra adds some over time, and `null` is as good as absent for those that
may be missing.
"""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class Client(BaseModel):
    ip: str | None = None
    locale: str | None = None
    market: str | None = None


class ServicePrincipal(BaseModel):
    id: UUID | None = None
    appId: UUID | None = None
    appDisplayName: str | None = None
    displayName: str | None = None


class User(BaseModel):
    companyName: str | None = None
    createdDateTime: str | None = None
    displayName: str | None = None
    givenName: str | None = None
    id: str | None = None
    mail: str | None = None
    onPremisesSamAccountName: str | None = None
    onPremisesSecurityIdentifier: str | None = None
    onPremisesUserPrincipalName: str | None = None
    preferredDataLocation: str | None = None
    preferredLanguage: str | None = None
    surname: str | None = None
    userPrincipalName: str | None = None
    userType: str | None = None


class AuthenticationContext(BaseModel):
    correlationId: UUID
    client: Client | None = None
    protocol: str | None = None
    requestType: str | None = None
    clientServicePrincipal: ServicePrincipal | None = None
    resourceServicePrincipal: ServicePrincipal | None = None
    user: User | None = None


class CalloutData(BaseModel):
    odata_type: Literal["microsoft.graph.onTokenIssuanceStartCalloutData"] = Field(alias="@odata.type")
    tenantId: UUID
    authenticationEventListenerId: UUID
    customAuthenticationExtensionId: UUID
    authenticationContext: AuthenticationContext


class CalloutRequest(BaseModel):
    type: Literal["microsoft.graph.authenticationEvent.tokenIssuanceStart"]
    source: str
    data: CalloutData


class ProvideClaims(BaseModel):
    odata_type: Literal["microsoft.graph.tokenIssuanceStart.provideClaimsForToken"] = Field(
        default="microsoft.graph.tokenIssuanceStart.provideClaimsForToken", serialization_alias="@odata.type"
    )
    claims: dict[str, str]


class ResponseData(BaseModel):
    odata_type: Literal["microsoft.graph.onTokenIssuanceStartResponseData"] = Field(
        default="microsoft.graph.onTokenIssuanceStartResponseData", serialization_alias="@odata.type"
    )
    actions: list[ProvideClaims]


class CalloutResponse(BaseModel):
    data: ResponseData
