"""Break glass, as people play it: a council, witnesses over HTTP, the log of orders, and validators' own accounts."""
import json
import time

from .baton import Refused, call
from .network import KEYRING, free_ports
from .processes import Process
from .rpc import until

NEEDED, NOTICE_BLOCKS, NOTICE_SECS = 2, 8, 10
MEMBERS = ["ada", "bob", "chen"]
WITNESSES = ["w1.example/baton", "w2.example/baton", "w3.example/baton"]


class Glass:
    """Keys of a council of which two are needed, three witnesses of which two are needed, and the chain's log of orders."""

    def __init__(self, run):
        self.run, self.binary, self.number = run, run.tools.binary, 0
        self.folder = run.folder / "glass"
        self.folder.mkdir()
        self.members = {m: call(self.binary, "order", "key", "--out", self.folder / f"{m}.key", *(["--p256"] if m == "bob" else []))["key"] for m in MEMBERS}
        self.vkeys = [call(self.binary, "witness", "key", "--name", w, "--out", self.folder / f"w{i}.key")["vkey"] for i, w in enumerate(WITNESSES)]
        self.log = self.folder / "orders.log"
        made = call(self.binary, "order", "log", self.log, "--new", run.net.chain_id)
        ports = free_ports(len(WITNESSES))
        self.witnesses = [f"http://127.0.0.1:{port}" for port in ports]
        for i, (name, port) in enumerate(zip(WITNESSES, ports)):
            Process.start(run.net.folder / f"pids/witness{i}.pid", [
                self.binary, "witness", "run", "--name", name, "--key", self.folder / f"w{i}.key", "--state", self.folder / f"w{i}.redb",
                "--log", f"{made['log']}={made['key']}", "--listen", f"127.0.0.1:{port}"], run.net.folder / f"logs/witness{i}.log")

    def policy(self):
        """What the policies of this network say of emergencies."""
        members = ", ".join(f'{{ name = "{name}", key = "{key}" }}' for name, key in self.members.items())
        return (f"\n[council]\nmembers = [{members}]\nneeded = {NEEDED}\nnotice_blocks = {NOTICE_BLOCKS}\n"
                f"\n[witnesses]\nkeys = {json.dumps(self.vkeys)}\nneeded = {NEEDED}\nnotice_secs = {NOTICE_SECS}\ndated_exports = false\n")

    # -- an order, from its first line to its notice

    def new(self, kind, source, reason, *arguments):
        """A new order to the build whose identity digest is `source`; nobody has signed it."""
        self.number += 1
        file = self.folder / f"order{self.number}.order"
        call(self.binary, "order", "new", kind, "--chain-id", self.run.net.chain_id, "--from", source, "--sequence", self.number,
             "--expiry-height", 100_000, "--expires", int(time.time()) + 86_400, "--reason", reason, "--out", file, *arguments)
        return file

    def handover(self, source, build, reason):
        """An order to hand over to a build of this run, which some node has in its folder already."""
        image, measurement = self.run.tools.builds[build]
        seat = until(f"the enclave of {build}", lambda: self.run.batons[0].seat(build), 60, 0.5)
        return self.new("handover", source, reason, "--measurement", measurement, "--signer", seat["signer"], "--svn", seat["svn"])

    def sign(self, file, member):
        call(self.binary, "order", "sign", file, "--key", self.folder / f"{member}.key")
        self.run.t.say(f"{member} signs order {self.number}")

    def sign_account(self, file, node, key="val"):
        """Signs with an account of a node's keyring: the chain's own command signs what ADR-036 says."""
        address = node.address if key == "val" else node.key(key)
        asked = call(self.binary, "order", "sign", file, "--signer", address)
        answer = self.folder / f"{file.stem}-{node.index}-{key}.json"
        answer.write_text(node.run("keys", "sign-data", key, asked["data"], *KEYRING).stdout)
        call(self.binary, "order", "sign", file, "--signer", address, "--wallet", answer)

    def verify(self, file, policy, rpc=None):
        """(whether it commands, what the command says)"""
        try:
            return True, call(self.binary, "order", "verify", file, "--policy", policy, *(["--rpc", rpc] if rpc else []))
        except Refused as refused:
            return False, refused.answer

    def shown(self, file):
        return call(self.binary, "order", "show", file)

    def memo(self, file):
        return call(self.binary, "order", "publish", file)["memo"]

    def witnessed(self, file, policy):
        """Appends the order to the log, lets witnesses cosign, and again once the notice is over; returns the log's last answer."""
        def cosign():
            asked = [a for url in self.witnesses for a in ("--witness", url)]
            try:
                return call(self.binary, "order", "log", self.log, "--order", file, *asked, "--policy", policy)
            except Refused as refused:
                return refused.answer
        first = cosign()
        self.run.t.check(first.get("accept") is False and first.get("notice_ends"), f"witnesses dated order {self.number}; its notice ends in {NOTICE_SECS} s", first)
        over = until("the end of the notice", lambda: (lambda a: a if a.get("accept") else None)(cosign()), NOTICE_SECS + 30, 2)
        self.run.t.say(f"the notice of order {self.number} is over, and a checkpoint of after it is there")
        return over

    def carry(self, file, baton, *how, wait=60):
        """Gives an order to a node's daemon and waits for what becomes of it: (obeyed, answer)."""
        try:
            return True, baton.call("order", "carry", file, *how, "--wait", wait, timeout=wait + 60)
        except Refused as refused:
            return False, refused.answer or {"said": refused.words}

    def by_log(self):
        return ["--log", self.log, *(a for url in self.witnesses for a in ("--witness", url))]
