"""What operators type around an upgrade, on the real chain: each command's exit code and a line that tells."""
import base64
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from . import audit
from .baton import said
from .rpc import until
from .run import AHEAD, PLAN

# Who signs with a key file instead of the chain's own command.
BY_KEYFILE = 1


def operator(run):
    """Operators' commands from the proposal to the end: doctor, proposal new and check, rehearse, status, policy new, record send, watch in a terminal, evidence record and verify; one node signs with a key file."""
    run.begin(signers={BY_KEYFILE: "keyfile"})
    if not run.with_baton:
        return
    net, baton = run.net, run.batons[0]
    at = Asked(run, baton)
    run.deliver()
    for b in run.batons:
        b.wait_seat("v2", lambda s: s["rehearsed_as_source"], "a rehearsal")
    at.holds("rehearse", "rehearse", has=r"v2\s+rehearsed, and can hand on")
    file, policy = run.folder / "operator.json", run.folder / "operator.policy.toml"
    at.holds("policy new", "policy", "new", "--rpc", net.nodes[0].rpc.url, "--rpc", net.nodes[1].rpc.url, "--chain-id", net.chain_id, "--dev-pki-seed", 7,
             "--commitment", run.commitment, "--out", policy, home=False, has=r"checkpoint\s+\d+ [0-9a-f]{64}")
    at.holds("policy check of it", "policy", "check", policy, home=False, has=net.chain_id)
    at.refused("policy new with another chain's id", "policy", "new", "--rpc", net.nodes[0].rpc.url, "--chain-id", "other-1", "--dev-pki-seed", 7,
               "--out", run.folder / "never.toml", home=False, has="other-1", code=2)

    # What `proposal new` writes is what the chain's command submits, as it is.
    height = net.up().rpc.newest() + AHEAD + 30
    build = run.tools.builds["v2"][0]
    at.holds("proposal new", "proposal", "new", "--plan", PLAN, "--height", height, "--build", build, "--out", file, home=False, has=run.tools.measurement("v2"))
    result = net.nodes[0].tx("gov", "submit-proposal", file)
    proposal = next(int(a["value"]) for e in result["tx_result"]["events"] for a in e["attributes"] if a["key"] == "proposal_id")
    run.t.say(f"proposal {proposal}: the very file of `baton proposal new`")
    # The newest header proves the state of two blocks before.
    net.wait_height(int(result["height"]) + 2, [0])
    at.holds("proposal check while people vote", "proposal", "check", proposal, "--build", build, has="the enclave reads this very build in it")
    at.refused("proposal check with another build", "proposal", "check", proposal, "--build", run.tools.builds["v1"][0], has="names another build")
    at.refused("proposal check of one that does not exist", "proposal", "check", proposal + 7, has="there is no proposal")
    run.voted(proposal)
    plan = net.up().rpc.plan()
    run.t.need(plan and plan["height"] == height, "the chain has the plan scheduled", plan)
    until("the plan at node0", lambda: baton.status()["plan"], 30, 0.5)
    at.holds("proposal check after the vote", "proposal", "check", proposal, "--build", build, has=r"status\s+PASSED")
    at.holds("status", "status", has=rf"plan\s+{PLAN} at {height} \(\d+ blocks left\), proposal {proposal}, names {run.tools.measurement('v2')}")
    hooked = ["--daemon-home", net.nodes[0].home, "--custom-pre-upgrade", "baton-hook"] if run.cosmovisor else []
    at.holds("doctor, days before the height", "doctor", *hooked, has=r"v2 is the one that the plan names")
    watched(run, baton, height)
    sent(run, proposal)

    run.handed_over()
    at.holds("guard, which checks alone", "guard", "--plan", PLAN, has="holds the keyring durably on this machine")
    at.holds("upgrade, which has nothing left to do", "upgrade", "--plan", PLAN, has="holds the keyring durably on this machine")
    by_keyfile(run)
    run.cross(height)
    run.settled()
    at.holds("status at the end", "status", has=r"v2\s+[0-9a-f]{16} holding serving")
    recorded = run.folder / "operator.evidence.json"
    at.holds("evidence record", "evidence", "record", "--plan", PLAN, "--out", recorded, has=str(proposal))
    at.holds("evidence verify, without any chain", "evidence", "verify", recorded, home=False, has=run.tools.measurement("v2"))
    spoiled = run.folder / "operator.spoiled.json"
    flipped = json.loads(recorded.read_text())
    header = flipped["target"]["commit"]["signed_header"]["header"]
    header["app_hash"] = header["app_hash"][:-1] + ("0" if header["app_hash"][-1] != "0" else "1")
    spoiled.write_text(json.dumps(flipped))
    at.refused("evidence verify with one digit of the app hash changed", "evidence", "verify", spoiled, home=False, has="", code=None)


class Asked:
    """Runs commands and checks what they say."""

    def __init__(self, run, baton):
        self.run, self.baton = run, baton

    def _ask(self, arguments, home):
        return self.baton.said(*arguments) if home else said(self.baton.binary, *arguments)

    def holds(self, what, *arguments, has, home=True):
        code, text = self._ask(arguments, home)
        line = next((l.strip() for l in text.splitlines() if re.search(has, l)), None)
        self.run.t.check(code == 0 and line, f"baton {what}: {(line or '')[:150]}", f"exit code {code}: {text[-900:]}")
        return text

    def refused(self, what, *arguments, has, home=True, code=1):
        """`code`: 1 refused, 2 asked wrongly; None for either."""
        got, text = self._ask(arguments, home)
        line = next((l.strip() for l in text.splitlines() if re.search(has, l)), None)
        self.run.t.check(got in ((1, 2) if code is None else (code,)) and line is not None, f"baton {what} ends {got}: {(line or '')[:150]}", f"exit code {got}: {text[-900:]}")


def watched(run, baton, height):
    """`baton watch` in a pseudo-terminal: it draws, follows for a few seconds, and q ends it with 0 and the terminal as it was."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([str(baton.binary), "watch", "--home", str(baton.home)], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               env={**os.environ, "TERM": "xterm-256color"})
    drawn, end, asked = b"", time.monotonic() + 4, False
    while process.poll() is None and time.monotonic() < end + 10:
        if select.select([ours], [], [], 0.2)[0]:
            drawn += os.read(ours, 65536)
        if time.monotonic() > end and not asked:
            os.write(ours, b"q")
            asked = True
    if process.poll() is None:
        process.kill()
    # What it wrote last is still on the way.
    while select.select([ours], [], [], 0.2)[0]:
        drawn += os.read(ours, 65536)
    after = termios.tcgetattr(theirs)
    os.close(ours)
    os.close(theirs)
    # Cursor movements out: what is left is what stands on the screen.
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b" ", drawn).decode(errors="replace")
    wanted = [PLAN, str(height), "builds on this machine", "v2", "holding"]
    missing = [w for w in wanted if w not in text]
    run.t.check(process.wait() == 0 and not missing, f"baton watch in a terminal for {len(drawn)} bytes shows plan, height and builds, and q ends it with 0", missing)
    run.t.check(before == after and b"\x1b[?1049l" in drawn, "and the terminal is as it was")


def sent(run, proposal):
    """`baton record send` with an account that is none of the validators': a record is public whoever sends it."""
    baton, node = run.batons[BY_KEYFILE], run.net.nodes[BY_KEYFILE]
    # A join's, once more: the same record twice is one record.
    memo = audit.memos(run.net.up().rpc)[-1]
    code, text = baton.said("record", "send", memo, "--wait", 60)
    at = re.search(r"height\s+(\d+)", text)
    block = at and node.rpc.call("block", height=int(at[1]))["block"]["data"]["txs"] or []
    memos = [audit.memo(base64.b64decode(tx)) for tx in block]
    run.t.check(code == 0 and memo in memos, f"baton record send by an account of its own ({node.key('recorder')}): {(at or [''])[0]}", f"exit code {code}: {text[-600:]}")
    code, text = baton.said("record", "send", "no record at all")
    run.t.check(code == 2, f"baton record send of another text ends {code}: {text.strip().splitlines()[-1][:140]}", text)


def by_keyfile(run):
    """The node with the key file has sent its record from that account."""
    node = run.net.nodes[BY_KEYFILE]
    address = node.key("recorder")
    sent = run.net.up().rpc.call("tx_search", query=f"\"message.sender='{address}'\"")["txs"]
    records = [t for t in sent if audit.memo(base64.b64decode(t["tx"])).startswith(audit.PREFIX)]
    log = run.batons[BY_KEYFILE].log.read_text(errors="replace")
    hashes = [t["hash"] for t in records if t["hash"] in log]
    run.t.check(bool(hashes), f"node{BY_KEYFILE}'s records came from its key file's account: {len(records)} on the chain, {len(hashes)} of them for the handover", log[-400:])
