"""Becomes `wasmtime serve` with the component: start.py WASMTIME COMPONENT.

An instance lives as long as a request, so it can keep no keys; they are fetched here, and it gets them by its environment.
"""

import json
import os
import sys
import urllib.request

# As many as may be asked at once, and what each keeps of its memory for the next instance: as Claimsmith has it.
POOL = [
    "pooling-allocator=y",
    "pooling-memory-keep-resident=524288",
    "pooling-table-keep-resident=65536",
    "pooling-max-unused-warm-slots=1000",
]
# With a token cache, instances are kept; each serves one request at a time, as all of WASI 0.2 do.
REUSE = ["--max-instance-reuse-count", "1000000", "--idle-instance-timeout", "60s"]


def fetch(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


def main(wasmtime: str, component: str) -> None:
    metadata = fetch(os.environ["METADATA_URL"])
    cache = os.environ.get("TOKEN_CACHE", "off")
    environment = {name: os.environ[name] for name in ("AUDIENCE", "CALLER", "TENANT_ID")}
    environment |= {
        "ISSUER": metadata["issuer"],
        "JWKS": json.dumps(fetch(metadata["jwks_uri"])),
        "TOKEN_CACHE": cache,
    }
    # `cli` is the WASI that Rust's standard library asks for.
    command = [wasmtime, "serve", "-S", "cli", "--no-logging-prefix", "--addr", f"127.0.0.1:{os.environ['PORT']}"]
    for option in POOL:
        command += ["-O", option]
    for name, value in environment.items():
        command += ["--env", f"{name}={value}"]
    if cache == "on":
        command += REUSE
    os.execv(wasmtime, [*command, component])


if __name__ == "__main__":
    main(*sys.argv[1:])
