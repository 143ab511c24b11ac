"""FastAPI: the body checked by pydantic, the token by PyJWT. Run by uvicorn with uvloop and httptools."""

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

import settings
from model import AuthenticationContext, CalloutRequest, CalloutResponse, ProvideClaims, ResponseData
from token_check import authenticate

app = FastAPI(openapi_url=None)
tenant_id = UUID(settings.TENANT_ID)
mail_domain = re.compile(r"@(.+)$")


@app.exception_handler(RequestValidationError)
async def bad_request(_request: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"error": [{"at": item["loc"], "is": item["msg"]} for item in error.errors()]}, 400)


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


@app.post("/tenants/bench/extensions/claims")
async def claims(token: Annotated[dict[str, Any], Depends(authenticate)], request: CalloutRequest) -> CalloutResponse:
    # The token's `tid` is the expected directory, which was checked with it.
    if request.data.tenantId != tenant_id:
        raise HTTPException(400, "tenantId is not the token's")
    made = provide_claims(request.data.authenticationContext)
    return CalloutResponse(data=ResponseData(actions=[ProvideClaims(claims=made)]))


def provide_claims(context: AuthenticationContext) -> dict[str, str]:
    """The three rules of scenario/rules.toml."""
    user, application = context.user, context.clientServicePrincipal
    made = {}
    if user and user.mail and (match := mail_domain.search(user.mail)):
        made["mail_domain"] = match[1].lower()
    made["company"] = (user and user.companyName) or "none"
    if application and application.appId:
        made["application"] = str(application.appId)
    return made
