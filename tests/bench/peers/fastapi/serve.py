"""Serves app.py as production does: one worker, since there is one core, with uvloop and httptools."""

import os

import uvicorn

if __name__ == "__main__":
    uvicorn.run(
        "app:app",
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        # As Fastify has it: five seconds end connections of a client that pauses.
        timeout_keep_alive=72,
    )
