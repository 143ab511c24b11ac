"""What the benchmark tells every subject, from the environment."""

import os

METADATA_URL = os.environ["METADATA_URL"]
AUDIENCE = os.environ["AUDIENCE"]
TENANT_ID = os.environ["TENANT_ID"]
CALLER = os.environ["CALLER"]
TOKEN_CACHE = os.environ.get("TOKEN_CACHE") == "on"
