"""Baton beside a node: the `baton` command, called as an operator calls it. Nothing here knows how it does anything."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from .network import DENOM, FEES
from .processes import Process
from .rpc import DOWN, until

PKI_SEED = "7"
LEAD_BLOCKS, GRACE_BLOCKS, PLATFORMS = 25, 5, 3


class Refused(RuntimeError):
    """The command said no. `answer` is what it printed as JSON, where it did."""

    def __init__(self, command, code, answer, words):
        super().__init__(f"baton {command}: exit code {code}: {words}")
        self.code, self.answer, self.words = code, answer, words


def call(binary, *arguments, timeout=180):
    """Runs `baton … --json` and gives its answer; Refused where its exit code is not 0."""
    command = [str(binary), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if done.returncode:
        raise Refused(" ".join(map(str, arguments[:2])), done.returncode, answer, (done.stderr or done.stdout).strip()[-1000:])
    return answer


def said(binary, *arguments, timeout=180):
    """Runs `baton …` as people do: (exit code, what it printed)."""
    done = subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


class Tools:
    """Policies and builds of a run: what a network's developers would publish."""

    def __init__(self, options, folder):
        self.binary, self.platform, self.programs = options.baton, options.platform, options.program
        self.admission, self.more = options.admission, ""
        # Builds take the programs in turn, instead of the first for the first and the last for all others.
        self.in_turn = False
        self.folder = folder / "builds"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.builds = {}

    def policy(self, net, name, commitment=None):
        """A policy from the live chain."""
        file = self.folder / f"{name}.policy.toml"
        call(self.binary, "policy", "new", "--rpc", net.up().rpc.url, "--chain-id", net.chain_id, "--out", file,
             "--dev-pki-seed", PKI_SEED, "--admission", self.admission, "--lead-blocks", LEAD_BLOCKS, "--grace-blocks", GRACE_BLOCKS,
             "--platforms", PLATFORMS, *(["--commitment", commitment] if commitment else []))
        with open(file, "a") as policy:
            policy.write(self.more)
        return file

    def build(self, name, policy, svn):
        """A build of this policy: an image and its signature, in `builds`."""
        image = self.folder / f"{name}.sgxs"
        if self.platform == "sim":
            answer = call(self.binary, "sim-build", "--version", f"{svn}.0.0-{name}", "--policy", policy, "--svn", svn, "--out", image)
        else:
            at = (svn - 1) % len(self.programs) if self.in_turn else min(svn, len(self.programs)) - 1
            program = self.programs[at]
            answer = call(self.binary, "sign", program, "--policy", policy, "--key", 1, "--svn", svn, "--out", image)
        self.builds[name] = (image, answer["measurement"])
        return image

    def measurement(self, name):
        return self.builds[name][1]

    def plan_info(self, name):
        """plan.info that names a build, as `baton proposal new` writes it."""
        file = self.folder / f"{name}.proposal.json"
        call(self.binary, "proposal", "new", "--plan", "x", "--height", 1, "--build", self.builds[name][0], "--out", file)
        return json.loads(file.read_text())["messages"][0]["plan"]["info"]


def _command(pid):
    """A process's command line; nothing where it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class BatonNode:
    """One `baton node`, its home folder and its commands."""

    def __init__(self, run, node, port, signer="val", endpoints=None):
        self.run, self.node, self.port, self.signer = run, node, port, signer
        self.binary, self.tools = run.tools.binary, run.tools
        self.home = run.folder / f"baton{node.index}"
        self.log = run.net.folder / f"logs/baton{node.index}.log"
        self.pid_file = run.net.folder / f"pids/baton{node.index}.pid"
        self.endpoints = endpoints or [node.rpc.url]
        self.process, self.advance, self.apart = None, None, False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def call(self, *arguments, timeout=180):
        return call(self.binary, *arguments, "--home", self.home, timeout=timeout)

    # -- from nothing to custody

    def init(self, peers):
        """Writes the home folder; `peers` are URLs of other nodes' daemons."""
        arguments = ["--chain-id", self.run.net.chain_id, "--listen", f"127.0.0.1:{self.port}"]
        for url in self.endpoints:
            arguments += ["--rpc", url]
        for url in peers:
            arguments += ["--peer", url]
        if self.advance:
            arguments += ["--advance-blocks", self.advance]
        if self.apart:
            arguments += ["--dev-process"]
        if self.signer == "keyfile":
            arguments += ["--keyfile", self.keyfile(), "--denom", DENOM, "--fee", FEES.removesuffix(DENOM)]
        elif self.signer:
            arguments += ["--signer", self.signer_command()]
        self.call("init", *arguments, "--platform", self.tools.platform, "--dev-machine", f"machine{self.node.index}", "--dev-pki-seed", PKI_SEED)

    def keyfile(self):
        """A file with the key of an account of its own, which has funds."""
        node, name = self.node, "recorder"
        node.tx("bank", "send", "val", node.key(name), f"50000000{DENOM}")
        file = self.run.folder / f"recorder{node.index}.key"
        file.touch(mode=0o600)
        file.write_text(node.exported(name) + "\n")
        return file

    def enclaves(self):
        """Pids of the enclaves' own processes."""
        return [pid for pid in self.process.members() if b"enclave-process" in _command(pid)] if self.process else []

    def sealed(self, build):
        """The names of a build's sealed custody files: they change when its enclave has sealed something new."""
        folder = self.home / "seats" / self.tools.measurement(build)[:16] / "sealed"
        try:
            return sorted(name for name in os.listdir(folder) if re.fullmatch(r"custody-\d+\.sealed", name))
        except FileNotFoundError:
            return []

    def said(self, *arguments, timeout=180):
        return said(self.binary, *arguments, "--home", self.home, timeout=timeout)

    def signer_command(self):
        """How the chain's own command sends a record from this node's account."""
        node = self.node
        address = node.address if self.signer == "val" else node.key(self.signer)
        return (f"{self.run.net.binary} tx bank send {self.signer} {address} 1{DENOM} --note {{memo}} --from {self.signer} --home {node.home}"
                f" --keyring-backend test --chain-id {self.run.net.chain_id} --node {node.rpc.url.replace('http', 'tcp')} --fees {FEES} --gas 200000 --yes --output json")

    def install(self, build):
        """Drops a build and its signature into the home, as an operator does before an upgrade."""
        image = self.tools.builds[build][0]
        folder = self.home / "builds"
        folder.mkdir(mode=0o700, exist_ok=True)
        # The signature first: the daemon looks at images.
        shutil.copy(image.with_suffix(".sig"), folder)
        shutil.copy(image, folder)

    def start(self):
        self.process = Process.start(self.pid_file, [self.binary, "node", "--home", self.home], self.log)
        until(f"the daemon of node{self.node.index}", lambda: not self.process.alive() or self.http("/healthz")[0] == 200, 30)
        if not self.process.alive():
            raise RuntimeError(f"baton{self.node.index} ended with {self.process.code}: see {self.log}")

    def stop(self):
        if self.process:
            self.process.stop()
            self.process = None

    def kill(self):
        """kill -9, as a crash."""
        if self.process:
            self.process.kill()
            self.process = None

    def genesis(self):
        return self.call("genesis")

    def join(self, peer):
        return self.call("join", "--peer", peer, "--wait", 120)

    def vouched_by(self, validator, instead_of=None):
        """A validator answers for this machine: what `baton platform vouch` says, sent by the chain's own command."""
        words = self.call("platform", "vouch", "--validator", validator.operator, *(["--instead-of", instead_of] if instead_of else []))
        validator.tx("staking", "edit-validator", "--details", words["details"])
        return words["platform"]

    # -- questions

    def status(self):
        return self.call("status")

    def seat(self, build):
        """What this node's enclave of a build says of itself; {} where there is none."""
        wanted = self.tools.measurement(build)
        return next((s for s in self.status()["seats"] if s["measurement"] == wanted), {})

    def wait_seat(self, build, check, what, timeout=120):
        """Until the enclave of a build satisfies `check`."""
        return until(f"{what} at baton{self.node.index}", lambda: (lambda s: s if s and check(s) else None)(self.seat(build)), timeout, 0.5)

    def http(self, path):
        """(HTTP status, body) of the daemon; (0, '') where nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except DOWN:
            return 0, ""

    def metrics(self):
        """{(name, ((label, value), …)): value} as Prometheus would scrape them."""
        found = {}
        for line in self.http("/metrics")[1].splitlines():
            sample = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if sample:
                labels = tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2] or ""))
                found[sample[1], labels] = float(sample[3])
        return found

    def vault_put(self, name, value):
        return self.call("vault", "put", name, value)

    def vault_get(self, name):
        return self.call("vault", "get", name)

    # -- the upgrade

    def upgrade(self, plan, wait=0):
        """The handover by hand; Refused while it is not confirmed here."""
        return self.call("upgrade", "--plan", plan, "--wait", wait, timeout=wait + 60)

    def guard(self, plan):
        """What stands in front of the start of a plan's binary."""
        return [self.binary, "guard", "--home", self.home, "--plan", plan, "--"]

    def guarded(self, plan, binary, plans=()):
        """For cosmovisor, which starts binaries by itself: a script that lets only `start` through the guard. `plans`: what the binary applies beside its own."""
        return ('#!/bin/sh\n'
                f'export TESTCHAIN_PLANS="{",".join(plans)}"\n'
                f'[ "$1" = start ] || exec "{binary}" "$@"\n'
                f'exec "{self.binary}" guard --home "{self.home}" --plan "{plan}" -- "{binary}" "$@"\n')

    def hook(self, limit=120):
        """The script for COSMOVISOR_CUSTOM_PREUPGRADE."""
        return f'#!/bin/sh\nexec "{self.binary}" hook custom-pre-upgrade "$1" "$2" --home "{self.home}" --limit {limit}\n'
