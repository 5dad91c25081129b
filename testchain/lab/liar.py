"""An RPC endpoint that lies: it passes questions on to a real node and changes what comes back.

Modes, set at any time: `honest`; `flip` (one bit of what proves: an app hash, a signature, a stored value, a proof);
`old` (answers as of the height at which the mode was set); `shift` (each height's answer is the one below);
`hang` (never answers); `error` (500 and no JSON); `pruned` (every asked height is gone); `swallow` (says that a
transaction was taken and drops it).
"""
import base64
import http.server
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

MODES = ("honest", "flip", "old", "shift", "hang", "error", "pruned", "swallow")


class Liar:
    """One lying endpoint on a port of its own; `told` counts its lies per method."""

    def __init__(self, node, port, mode="honest"):
        self.node, self.port, self.told = node, port, {}
        self.stuck_at = None
        self.set(mode)
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                address = urllib.parse.urlsplit(self.path)
                self._reply(address.path.strip("/"), dict(urllib.parse.parse_qsl(address.query)), 0)

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                self._reply(asked["method"], asked.get("params") or {}, asked.get("id", 0), posted=True)

            def _reply(self, method, arguments, number, posted=False):
                try:
                    code, answer = liar.answer(method, dict(arguments), posted)
                except OSError as error:
                    code, answer = 502, {"error": {"code": -1, "message": str(error)}}
                if isinstance(answer, dict):
                    answer["id"] = number
                    answer = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def set(self, mode):
        """Changes what it does from now on."""
        if mode not in MODES:
            raise ValueError(f"a liar has no mode {mode!r}: {', '.join(MODES)}")
        if mode == "old":
            self.stuck_at = self.node.rpc.height()
        self.mode = mode

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method, arguments, posted=False):
        """(HTTP status, answer) to one question."""
        mode = self.mode
        if mode == "hang":
            self._count(method)
            time.sleep(3600)
        if mode == "error":
            self._count(method)
            return 500, b"<html>internal error</html>"
        if mode == "swallow" and method.startswith("broadcast_tx"):
            return 200, self._swallow(method)
        height = str(arguments.get("height", "")).strip('"')
        if mode == "pruned" and height not in ("", "0"):
            self._count(method)
            return 500, _error(f"height {height} is not available, lowest height is {int(height) + 100000}")
        arguments = self._as_of(mode, method, arguments, height)
        code, answer = self._ask(method, arguments, posted)
        if mode == "old" and method == "status" and "result" in answer:
            self._count(method)
            answer["result"]["sync_info"]["latest_block_height"] = str(self.stuck_at)
        if mode == "flip" and "result" in answer and _flip(method, answer["result"]):
            self._count(method)
        return code, answer

    def _as_of(self, mode, method, arguments, height):
        """The question that is really asked, so that the answer is genuine and of another height."""
        has_height = method in ("commit", "block", "header", "validators", "abci_query", "block_results")
        if mode == "old" and has_height and (height in ("", "0") or int(height) > self.stuck_at):
            self._count(method)
            return {**arguments, "height": str(self.stuck_at)}
        if mode == "shift" and has_height and height.isdigit() and int(height) > 1:
            self._count(method)
            return {**arguments, "height": str(int(height) - 1)}
        return arguments

    def _ask(self, method, arguments, posted):
        if posted:
            body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": arguments}).encode()
            request = urllib.request.Request(self.node.rpc.url, body, {"Content-Type": "application/json"})
        else:
            request = f"{self.node.rpc.url}/{method}?" + urllib.parse.urlencode(arguments)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def _swallow(self, method):
        self._count(method)
        return {"jsonrpc": "2.0", "result": {"code": 0, "data": "", "log": "", "codespace": "", "hash": "AB" * 32}}

    def _count(self, method):
        self.told[method] = self.told.get(method, 0) + 1


def _error(text):
    return {"jsonrpc": "2.0", "error": {"code": -32603, "message": "Internal error", "data": text}}


def _flip(method, result):
    """Flips one bit of what a light client would rely on; False where the answer holds nothing of the kind."""
    if method == "commit":
        header = result["signed_header"]["header"]
        header["app_hash"] = _flip_hex(header["app_hash"])
    elif method == "validators" and result["validators"]:
        key = result["validators"][0]["pub_key"]
        key["value"] = _flip_base64(key["value"])
    elif method == "abci_query" and result["response"].get("value"):
        result["response"]["value"] = _flip_base64(result["response"]["value"])
    elif method == "abci_query" and result["response"].get("proofOps"):
        proof = result["response"]["proofOps"]["ops"][0]
        proof["data"] = _flip_base64(proof["data"])
    elif method == "tx" and result.get("proof"):
        result["proof"]["root_hash"] = _flip_hex(result["proof"]["root_hash"])
        result["tx"] = _flip_base64(result["tx"])
    else:
        return False
    return True


def _flip_hex(text):
    data = bytearray.fromhex(text)
    data[len(data) // 2] ^= 1
    return data.hex().upper()


def _flip_base64(text):
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()
