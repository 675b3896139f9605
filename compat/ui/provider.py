"""A tiny provider of OAuth 2, and a broker of Lepus that has its users log in there."""

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT = "lepus-ui"
START_SECONDS_MAX = 20
# Renewed when three quarters of it are over, which is before anything is clicked.
TOKEN_SECONDS = 0.1


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def status_of(url, authorization):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": authorization}), timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


class Provider:
    """Its page has two links: Yes logs in `hare`, No does not. Codes are good once, and only with their verifier."""

    def __enter__(self):
        self.key = secrets.token_bytes(32)
        self.codes, self.grants, self.logouts = {}, [], []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"provider": self}))
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def token(self):
        claims = {"iss": self.url, "sub": "hare", "aud": "rabbitmq", "scope": "rabbitmq.tag:administrator rabbitmq.read:*/*",
                  "exp": int(time.time()) + 600}
        parts = [{"alg": "HS256", "typ": "JWT", "kid": "k"}, claims]
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        signature = encoded(hmac.digest(self.key, signed.encode(), "sha256"))
        return {"access_token": f"{signed}.{signature}", "token_type": "bearer", "expires_in": TOKEN_SECONDS, "refresh_token": "again"}

    def granted(self, form):
        """The answer to a request for a token: status and JSON."""
        self.grants.append(form.get("grant_type"))
        if form.get("grant_type") == "refresh_token" and form.get("refresh_token") == "again":
            return 200, self.token()
        challenge, redirect = self.codes.pop(form.get("code"), (None, None))
        verified = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest()) == challenge
        if verified and form.get("redirect_uri") == redirect and form.get("client_id") == CLIENT:
            return 200, self.token()
        return 400, {"error": "invalid_grant"}


class Handler(http.server.BaseHTTPRequestHandler):
    provider = None

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, status, value):
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json", Access_Control_Allow_Origin="*")

    def do_GET(self):
        own, asked = self.provider, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path == "/.well-known/openid-configuration":
            self.json(200, {"authorization_endpoint": f"{own.url}/authorize", "token_endpoint": f"{own.url}/token",
                            "end_session_endpoint": f"{own.url}/logout"})
        elif asked.path == "/authorize" and query["code_challenge_method"] == "S256" and query["response_type"] == "code":
            code = secrets.token_hex(8)
            own.codes[code] = query["code_challenge"], query["redirect_uri"]
            state, back = query["state"], query["redirect_uri"]
            yes = urlencode({"code": code, "state": state})
            no = urlencode({"error": "access_denied", "error_description": "the user said no", "state": state})
            page = f"<title>Provider</title><a href='{back}?{yes}'>Yes</a> <a href='{back}?{no}'>No</a>"
            self.answer(200, page.encode(), Content_Type="text/html")
        elif asked.path == "/logout":
            own.logouts.append(query["client_id"])
            self.answer(302, Location=query["post_logout_redirect_uri"])
        else:
            self.answer(404)

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.json(*self.provider.granted({name: values[0] for name, values in form.items()}))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def broker_with(provider):
    """The address of the UI of a broker that takes the provider's tokens, and no passwords."""
    with tempfile.TemporaryDirectory() as folder:
        key, config, port = Path(folder, "key.json"), Path(folder, "rabbitmq.conf"), free_port()
        key.write_text(json.dumps({"kty": "oct", "kid": "k", "alg": "HS256", "k": encoded(provider.key)}))
        config.write_text("\n".join([
            "auth_backends.1 = oauth2",
            "auth_oauth2.resource_server_id = rabbitmq",
            f"auth_oauth2.signing_keys.k = {key}",
            "management.login_session_timeout = 480",
            "management.oauth_enabled = true",
            f"management.oauth_client_id = {CLIENT}",
            f"management.oauth_provider_url = {provider.url}",
            "management.oauth_scopes = openid rabbitmq.tag:administrator",
        ]))
        command = [os.environ["LEPUS"], "serve", "--in-memory", "--amqp-listen", "127.0.0.1:0",
                   "--http-listen", f"127.0.0.1:{port}", "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                url, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + START_SECONDS_MAX
                while True:
                    with contextlib.suppress(OSError):
                        urllib.request.urlopen(f"{url}oauth.json", timeout=5).close()
                        break
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise AssertionError("the broker of the provider does not start")
                    time.sleep(0.05)
                yield url
            finally:
                process.terminate()
