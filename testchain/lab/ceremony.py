"""The developers' signing key at a real chain: one holder and the network, whose share a passed proposal releases, sign one build."""
import subprocess

from .baton import call
from .rpc import until

# Holders of test shares: age identities of 32 bytes of 1 and of 2. They protect nothing.
HOLDERS = {
    "ana": ("AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN", "age15nsf9y4k28p83wth93tf7hafhvfajp45d2mge80ems45gz0c5gys3me64l"),
    "ben": ("AGE-SECRET-KEY-1QGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQ0N3JDM", "age1e6xn45wvkce7c7msc9upffw8dmxs9959q5xng369hgzcwrjc04vszex59m"),
}


def ceremony(run):
    """The signing key is made in an enclave and dealt to two people and the network; one of them and the network's vote, shown over RPC, sign the build that the vote names."""
    run.begin()
    if not run.with_baton:
        return
    key = Key(run)
    voted = run.tools.measurement("v2")
    wrong = run.tools.build("v2x", run.tools.folder / "v2.policy.toml", 7) and run.tools.measurement("v2x")
    proposal, height = run.propose(ahead=150)
    run.voted(proposal)
    key.session(wrong, 7)
    key.box("ben", wrong, 7)
    key.agree(wrong, 7, proposal)
    refusal = f"the network voted for build {voted}"
    until("the enclave's word on the vote", lambda: refusal in key.words() or key.process.poll() is not None, 60)
    run.t.check(refusal in key.words() and not key.signature.exists(),
                f"a holder and a memo do not sign a build that the vote does not name: {key.words().splitlines()[-1][:240]}", key.words())
    key.stop()
    key.session(voted, 2)
    key.box("ana", voted, 2)
    vote = key.agree(voted, 2, proposal)
    run.t.say(f"the network's agreement: proposal {vote['proposal']}, shown at height {vote['head']}, memo {vote['memo'][:40]}…")
    ended = key.ended(120)
    run.t.check(ended == 0 and key.signature.exists(), "one holder and the network's vote signed the build", key.words())
    shown = call(run.tools.binary, "sigstruct", "show", key.signature)
    run.t.check(voted in str(shown), "the SIGSTRUCT is for the very build that people voted for", shown)


class Key:
    """A ceremony's folder, and the session that is open."""

    def __init__(self, run):
        self.run, self.binary, self.dir, self.process = run, run.tools.binary, run.folder / "signer", None
        self.policy = run.tools.folder / "v1.policy.toml"
        holders = run.folder / "holders.toml"
        people = "".join(f'[[holder]]\nname = "{name}"\nrecipient = "{recipient}"\n\n' for name, (_, recipient) in HOLDERS.items())
        holders.write_text(f'needed = 2\n\n{people}[[holder]]\nnetwork = "builds/{self.policy.name}"\n')
        call(self.binary, "ceremony", "signer", "new", "--holders", holders, "--dir", self.dir)
        self.published = next(self.dir.glob("ceremony-*.attested"))
        self.attempts = 0

    def session(self, measurement, svn):
        """Opens a session: the command waits for boxes and the vote."""
        self.attempts += 1
        (self.dir / "session.attested").unlink(missing_ok=True)
        (self.dir / "boxes").mkdir(exist_ok=True)
        self.signature, self.vote, self.log = self.run.folder / f"signed{self.attempts}.sig", self.run.folder / f"vote{self.attempts}.cbor", self.run.folder / f"sign{self.attempts}.log"
        self.process = subprocess.Popen([str(self.binary), "ceremony", "signer", "sign", "--dir", self.dir, "--measurement", measurement, "--svn", str(svn),
                                         "--out", self.signature, "--vote", self.vote, "--wait", "180"], stdout=open(self.log, "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.run.closing.append(self)
        until("the session", lambda: (self.dir / "session.attested").exists() or self.process.poll() is not None, 60)

    def box(self, name, measurement, svn):
        """A holder agrees, on their own machine."""
        identity = self.run.folder / f"{name}.identity"
        identity.write_text(HOLDERS[name][0] + "\n")
        call(self.binary, "ceremony", "box", "--session", self.dir / "session.attested", "--published", self.published, "--share", next(self.dir.glob(f"**/*-{name}.age")),
             "--identity", identity, "--measurement", measurement, "--svn", svn, "--out", self.dir / f"boxes/{name}.box")

    def agree(self, measurement, svn, proposal):
        """The network's part: a memo of this session, its transaction, and the evidence of the vote over RPC."""
        asked = ["ceremony", "agreement", "--session", self.dir / "session.attested", "--policy", self.policy, "--measurement", measurement, "--svn", svn]
        sent = self.run.net.nodes[0].memo(call(self.binary, *asked)["memo"])
        other = self.run.net.nodes[1].rpc
        # It may be a block behind the node that took the transaction.
        until("the memo's block on another node", lambda: (other.height() or 0) > int(sent["height"]), 30)
        return call(self.binary, *asked, "--rpc", other.url, "--proposal", proposal, "--tx", sent["hash"], "--out", self.vote)

    def ended(self, timeout):
        """The exit code of the command that signs; None while it waits."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def words(self):
        return self.log.read_text()[-600:]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    close = stop
