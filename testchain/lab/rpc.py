"""The JSON-RPC of a CometBFT node, and as much protobuf as the records of x/gov and x/upgrade need."""
import base64
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request

DOWN = (OSError, http.client.HTTPException)


class RpcError(RuntimeError):
    """The node answered with an error."""


class Rpc:
    """One node's RPC."""

    def __init__(self, port, timeout=10.0):
        self.url, self.timeout = f"http://127.0.0.1:{port}", timeout

    def raw(self, method, **arguments):
        """The whole answer, errors included."""
        url = f"{self.url}/{method}?" + urllib.parse.urlencode(arguments)
        try:
            with urllib.request.urlopen(url, timeout=self.timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.loads(error.read())

    def call(self, method, **arguments):
        answer = self.raw(method, **arguments)
        if "error" in answer:
            raise RpcError(f"{method} {arguments}: {answer['error'].get('data') or answer['error']}")
        return answer["result"]

    def height(self):
        """Height of the newest block, or None while the node does not answer."""
        try:
            return int(self.call("status")["sync_info"]["latest_block_height"])
        except (RpcError, ValueError, *DOWN):
            return None

    def newest(self):
        """The same, of a node that runs: a busy machine may keep it from answering for a moment."""
        return until("the node's height", self.height, 30, 0.2)

    def query(self, store, key, height=0, prove=True):
        """abci_query of one key, the whole answer. The proof's root is the app hash of header height + 1."""
        return self.raw("abci_query", path=f'"/store/{store}/key"', data="0x" + key.hex(), height=height,
                        prove="true" if prove else "false")

    def value(self, store, key, height=0):
        """The value under a key; None where there is none."""
        answer = self.query(store, key, height, prove=False)
        if "error" in answer:
            raise RpcError(str(answer["error"]))
        value = answer["result"]["response"].get("value")
        return base64.b64decode(value) if value else None

    def light_block(self, height):
        """Commit, validators and next validators, as a light client needs them."""
        return {
            "height": height,
            "commit": self.call("commit", height=height),
            "validators": self.call("validators", height=height, per_page=100),
            "next_validators": self.call("validators", height=height + 1, per_page=100),
        }

    def plan(self, height=0):
        """The pending upgrade plan: {name, height, info}, or None."""
        value = self.value("upgrade", b"\0", height)
        if not value:
            return None
        f = fields(value)
        return {"name": f[1][0].decode(), "height": f[3][0], "info": f.get(4, [b""])[0].decode()}

    def applied(self, name, height):
        """Whether the done key of a plan is there."""
        return self.value("upgrade", b"\x01" + height.to_bytes(8, "big") + name.encode()) is not None

    def proposal_status(self, proposal):
        """VOTING_PERIOD, PASSED, …; None where there is no such proposal."""
        value = self.value("gov", b"\0" + proposal.to_bytes(8, "big"))
        return STATUS[fields(value).get(3, [0])[0]] if value else None

    def powers(self, height=0):
        """{consensus address: power} of the validator set at a height."""
        arguments = {"height": height} if height else {}
        return {v["address"]: int(v["voting_power"]) for v in self.call("validators", per_page=100, **arguments)["validators"]}


STATUS = {0: "UNSPECIFIED", 1: "DEPOSIT_PERIOD", 2: "VOTING_PERIOD", 3: "PASSED", 4: "REJECTED", 5: "FAILED"}


def fields(message):
    """A protobuf message, one level deep: {field: [values]}."""
    found, at = {}, 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    def take(count):
        nonlocal at
        at += count
        return message[at - count:at]

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            value = varint()
        elif kind == 2:
            value = take(varint())
        elif kind in (1, 5):
            value = take(8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind} in a protobuf message")
        found.setdefault(tag >> 3, []).append(value)
    return found


def until(what, check, timeout, pause=0.1):
    """Waits until `check()` gives something true and returns that; TimeoutError names what was waited for."""
    end = time.monotonic() + timeout
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)
