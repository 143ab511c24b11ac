"""A mail server for tests: aiosmtpd (Debian: python3-aiosmtpd), which tells what it was given as lines of JSON.

Its one argument is JSON: port (0 for a free one), security ("none", "starttls" or "tls"), inject (whether replies are added
to the one to STARTTLS), certificate and key (files), and user and password, without which it wants no authentication. What it does with a recipient, the local part says.
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

# What the local part of a recipient makes of RCPT, and of the message's text. They repeat what they were given, as servers
# do.
AT_RCPT = {
    "nobody": "550 5.1.1 <{to}>: user unknown",
    "grey": "450 4.2.0 <{to}>: greylisted",
    "full": "452 4.2.2 <{to}>: no room",
    "closing": "421 4.3.2 closing",
}
AT_DATA = {
    "spam": "554 5.7.1 looks like spam: {text}",
    "busy": "451 4.3.0 later",
}


def tell(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        refused = AT_RCPT.get(address.split("@")[0])
        if refused:
            return refused.format(to=address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        local = envelope.rcpt_tos[0].split("@")[0]
        if local == "crash":
            os._exit(1)
        if local == "slow":
            await asyncio.sleep(5)
        if local in AT_DATA:
            text = envelope.content.decode("ascii", "replace").replace("\r\n", " ")
            return AT_DATA[local].format(text=text[-100:])
        encrypted = server.transport.get_extra_info("ssl_object") is not None
        tell(received(session, envelope, encrypted))
        return "250 2.0.0 OK"


def received(session, envelope, encrypted):
    message = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    return {
        "event": "message",
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "encrypted": encrypted,
        "user": session.auth_data,
        "headers": [[name, str(value)] for name, value in message.items()],
        "text": text and text.get_content().replace("\r\n", "\n"),
        "html": html and html.get_content().replace("\r\n", "\n"),
        "content": envelope.content.decode("latin-1"),
    }


class Server(SMTP):
    # Whether somebody on the way adds replies to the one to STARTTLS.
    inject = False

    def connection_made(self, transport):
        if self.transport is None:
            tell({"event": "connection"})
        super().connection_made(transport)

    async def push(self, status):
        if self.inject and status.startswith("220 Ready"):
            status += "\r\n250-mail.example\r\n250 AUTH PLAIN"
        return await super().push(status)


async def main(options):
    secret = (options.get("user") or "").encode(), (options.get("password") or "").encode()

    def authenticate(server, session, envelope, mechanism, data):
        right = (data.login, data.password) == secret
        return AuthResult(success=right, handled=False, auth_data=data.login.decode() if right else None)

    security, context = options["security"], None
    Server.inject = options["inject"]
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options["certificate"], options["key"])

    def server():
        return Server(
            Handler(),
            hostname="mail.example",
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            auth_required=bool(options.get("user")),
            # aiosmtpd does not count TLS from the start as TLS here.
            auth_require_tls=security == "starttls",
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    implicit = context if security == "tls" else None
    listener = await loop.create_server(server, "127.0.0.1", options["port"], ssl=implicit)
    tell({"event": "listening", "port": listener.sockets[0].getsockname()[1]})
    await listener.serve_forever()


asyncio.run(main(json.loads(sys.argv[1])))
