"""What schemathesis has to know beyond the document: which extensions there are, and what a schema cannot say.

CALLOUTS names a JSON file: for each event the tenant and extension that answer it, the token that Entra sends, the
directory that it is of, and for passwordSubmit a password context that the host can decrypt.
"""

import copy
import json
import os
import re

import schemathesis

with open(os.environ["CALLOUTS"], encoding="utf-8") as file:
    CALLOUTS = json.load(file)

ANY = "/tenants/{tenant}/extensions/{extension}"
GUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
NIL = "00000000-0000-0000-0000-000000000000"


def path_of(event):
    return f"/tenants/contoso/extensions/{CALLOUTS[event]['extension']}"


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Beside the path of any extension, gives each event's extension a path of its own, with its own bodies alone."""
    for event in CALLOUTS:
        operation = copy.deepcopy(raw_schema["paths"][ANY]["post"])
        operation["operationId"] = event
        content = operation["requestBody"]["content"]["application/json"]
        content["schema"] = {"$ref": f"#/components/schemas/{event}Request"}
        answer = operation["responses"]["200"]["content"]["application/json"]
        answer["schema"] = {"$ref": f"#/components/schemas/{event}Response"}
        raw_schema["paths"][path_of(event)] = {"post": operation}


def callout_of(operation):
    for event, callout in CALLOUTS.items():
        if operation.path == path_of(event):
            return callout
    return CALLOUTS["tokenIssuanceStart"]


# Not cached: operations have tokens of different directories.
@schemathesis.auth(refresh_interval=None)
class Entra:
    def get(self, case, context):
        return callout_of(case.operation)["token"]

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


def without_second_spellings(members, name):
    """Leaves one member of those whose names differ from this one by case alone: a wrong one, if there is."""
    spellings = [member for member in members if member.lower() == name.lower() and members[member] is not None]
    spellings.sort(key=lambda member: isinstance(members[member], str))
    for member in spellings[1:]:
        del members[member]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes members agree where a schema cannot say that they must, without mending what is wrong on purpose.

    Otherwise nearly every body would be refused for that alone, whatever else is right or wrong with it. Schemathesis
    validates the body again after this, and so knows whether it still is to be refused.
    """
    callout = callout_of(case.operation)
    body = case.body
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict):
        return
    tenant = data.get("tenantId")
    if isinstance(tenant, str) and re.fullmatch(GUID, tenant) and tenant != NIL:
        data["tenantId"] = callout["directory"]
        source = body.get("source")
        parts = re.fullmatch(f"/tenants/({GUID})/applications/({GUID})", source) if isinstance(source, str) else None
        if parts and NIL not in (parts[1], parts[3]):
            body["source"] = f"/tenants/{callout['directory']}/applications/{parts[3]}"
    if isinstance(data.get("encryptedPasswordContext"), str) and "passwordContext" in callout:
        data["encryptedPasswordContext"] = callout["passwordContext"]
    without_second_spellings(data, "@odata.type")
    if isinstance(data.get("otpContext"), dict):
        without_second_spellings(data["otpContext"], "oneTimeCode")
