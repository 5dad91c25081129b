"""N validators of uneven power on loopback, bare or under cosmovisor."""
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

from .processes import Process, stop_all
from .rpc import Rpc, until

DENOM = "stake"
FEES = f"2000{DENOM}"
KEYRING = ["--keyring-backend", "test"]
SUPPLY = 1_000_000_000
TOKENS_PER_POWER = 1_000_000


def free_ports(count):
    """Ports nobody listens on, below the range from which the kernel takes ports of outgoing connections."""
    found = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 2_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports on loopback")


class Network:
    """A folder with one home per node, all pid files and all logs, and `net.json`, from which it can be opened again."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        saved = json.loads((self.folder / "net.json").read_text())
        self.chain_id, self.powers = saved["chain_id"], saved["powers"]
        self.binaries, self.nodes = pathlib.Path(saved["binaries"]), [Node(self, n) for n in saved["nodes"]]
        self.binary = self.binaries / saved["binary"]

    @classmethod
    def create(cls, folder, binaries, powers, *, joiners=0, chain_id="baton-test-1", binary="testchaind-v1",
               voting="15s", expedited="8s", block="500ms", gov=None, edit=None):
        """A new chain of `powers` validators; `joiners` more nodes have an account and follow.

        `gov` replaces parameters of x/gov; `edit` gets the whole genesis and may change it.
        """
        folder = pathlib.Path(folder).resolve()
        if (folder / "net.json").exists():
            raise FileExistsError(f"{folder} already holds a network: stop it, then remove the folder")
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        (folder / "pids").mkdir(exist_ok=True)
        count = len(powers) + joiners
        ports = free_ports(2 * count)
        nodes = [{"index": i, "home": str(folder / f"node{i}"), "rpc": ports[2 * i], "p2p": ports[2 * i + 1]} for i in range(count)]
        saved = {"chain_id": chain_id, "powers": powers, "binaries": str(pathlib.Path(binaries).resolve()), "binary": binary, "nodes": nodes}
        (folder / "net.json").write_text(json.dumps(saved, indent=1))
        network = cls(folder)
        network._genesis(voting, expedited, gov or {}, edit or (lambda genesis: None))
        with ThreadPoolExecutor() as pool:
            ids = list(pool.map(Node.comet_id, network.nodes))
        for node in network.nodes:
            node.configure(block, ids)
        return network

    def _genesis(self, voting, expedited, gov, edit):
        first, binary = self.nodes[0], self.binary
        gentxs = first.home / "config/gentx"

        def make(node):
            node.run("init", f"node{node.index}", "--chain-id", self.chain_id, "--default-denom", DENOM)
            node.run("keys", "add", "val", *KEYRING)
            return node.address

        def stake(node, power):
            if node is not first:
                shutil.copy(first.genesis, node.genesis)
            node.run("genesis", "gentx", "val", f"{power * TOKENS_PER_POWER}{DENOM}", "--chain-id", self.chain_id, *KEYRING,
                     "--moniker", f"node{node.index}", "--output-document", gentxs / f"{node.index}.json")

        with ThreadPoolExecutor() as pool:
            for address in pool.map(make, self.nodes):
                first.run("genesis", "add-genesis-account", address, f"{SUPPLY}{DENOM}")
            gentxs.mkdir(exist_ok=True)
            list(pool.map(stake, self.nodes, self.powers))
        first.run("genesis", "collect-gentxs")
        genesis = json.loads(first.genesis.read_text())
        state = genesis["app_state"]
        state["gov"]["params"] |= {"voting_period": voting, "expedited_voting_period": expedited, "max_deposit_period": voting, **gov}
        state["staking"]["params"]["unbonding_time"] = "1209600s"
        # A validator that a test stops for a while must not be jailed for it.
        state["slashing"]["params"]["signed_blocks_window"] = "100000"
        edit(genesis)
        for node in self.nodes:
            node.genesis.write_text(json.dumps(genesis))
        subprocess.run([binary, "genesis", "validate", "--home", first.home], check=True, capture_output=True)

    # -- running

    def start(self, *indexes, **how):
        """Starts nodes (all, when none is named); see Node.start."""
        for i in indexes or range(len(self.nodes)):
            self.nodes[i].start(**how)

    def stop(self, grace=10.0):
        """Stops every process that was started in this folder, also by a script that is gone."""
        return stop_all(self.folder / "pids", grace)

    def wait_height(self, height, nodes=None, timeout=120):
        """Until all these nodes (indexes; all by default) have a block of at least this height."""
        for node in self.nodes if nodes is None else [self.nodes[i] for i in nodes]:
            node.wait_height(height, timeout)

    def up(self):
        """The first node whose RPC answers."""
        return until("any node's RPC", lambda: next((n for n in self.nodes if n.rpc.height() is not None), None), 30)

    # -- proposals

    def submit(self, messages, title, *, by=0, deposit=10_000_000, expedited=False, metadata="", summary=None):
        """Submits a proposal and returns its id; RuntimeError with the chain's reason where it is not taken."""
        node = self.nodes[by]
        file = node.home / "proposal.json"
        file.write_text(json.dumps({
            "messages": messages, "metadata": metadata, "deposit": f"{max(deposit, 50_000_000) if expedited else deposit}{DENOM}",
            "title": title, "summary": summary or title, "expedited": expedited}))
        result = node.tx("gov", "submit-proposal", file)
        return next(int(a["value"]) for e in result["tx_result"]["events"] for a in e["attributes"] if a["key"] == "proposal_id")

    def vote(self, proposal, votes=None):
        """votes: {node index: option}; by default all validators say yes. One transaction each, all at once."""
        votes = votes or {i: "yes" for i in range(len(self.powers))}
        # On a busy machine each command takes seconds, and the voting period is short.
        with ThreadPoolExecutor() as pool:
            sent = dict(zip(votes, pool.map(lambda i: self.nodes[i].tx("gov", "vote", proposal, votes[i], wait=False), votes)))
        for i, tx in sent.items():
            self.nodes[i].wait_tx(tx)

    def wait_decided(self, proposal, timeout=90, at=None):
        """PASSED, REJECTED or FAILED, once the vote is over; None where the chain dropped the proposal."""
        node = self.nodes[at] if at is not None else self.up()
        waiting = ("DEPOSIT_PERIOD", "VOTING_PERIOD")
        return until(f"the end of proposal {proposal}", lambda: [s for s in [node.rpc.proposal_status(proposal)] if s not in waiting], timeout)[0]

    def pass_proposal(self, messages, title, **how):
        """Submits, votes yes with all validators and waits until it passed; returns the id."""
        proposal = self.submit(messages, title, **how)
        self.vote(proposal)
        status = self.wait_decided(proposal)
        if status != "PASSED":
            raise RuntimeError(f"proposal {proposal} ({title}) is {status}, expected PASSED")
        return proposal


GOV = "cosmos10d07y265gmmuvt4z0w9aw880jnsr700j6zn9kn"


def upgrade_message(name, height, info):
    """MsgSoftwareUpgrade as a proposal's message."""
    plan = {"name": name, "height": str(height), "info": info, "time": "0001-01-01T00:00:00Z", "upgraded_client_state": None}
    return {"@type": "/cosmos.upgrade.v1beta1.MsgSoftwareUpgrade", "authority": GOV, "plan": plan}


def cancel_message():
    """MsgCancelUpgrade as a proposal's message."""
    return {"@type": "/cosmos.upgrade.v1beta1.MsgCancelUpgrade", "authority": GOV}


class Node:
    """One node: its home folder, its account `val`, its process `nodeI`."""

    def __init__(self, network, saved):
        self.network, self.index = network, saved["index"]
        self.home, self.rpc_port, self.p2p_port = pathlib.Path(saved["home"]), saved["rpc"], saved["p2p"]
        self.rpc = Rpc(self.rpc_port)
        self.genesis = self.home / "config/genesis.json"
        self.log = network.folder / f"logs/node{self.index}.log"
        self.pid_file = network.folder / f"pids/node{self.index}.pid"
        self.process = Process(self.pid_file) if self.pid_file.exists() else None
        self._address = None

    # -- the chain's own command

    def run(self, *arguments, binary=None, check=True, timeout=60):
        """Runs the chain's command on this home; RuntimeError with its last words where it fails."""
        command = [binary or self.network.binary, *map(str, arguments), "--home", self.home]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise RuntimeError(f"testchaind {' '.join(map(str, arguments))}: exit code {done.returncode}: {done.stderr.strip()[-1500:]}")
        return done

    @property
    def address(self):
        """Account address of the key `val`."""
        if not self._address:
            self._address = self.run("keys", "show", "val", "-a", *KEYRING).stdout.strip()
        return self._address

    @property
    def operator(self):
        """Validator operator address."""
        return self.run("keys", "show", "val", "-a", "--bech", "val", *KEYRING).stdout.strip()

    def key(self, name):
        """Address of one more key of this node, made at the first call; nobody has sent it anything."""
        done = self.run("keys", "show", name, "-a", *KEYRING, check=False)
        if done.returncode:
            self.run("keys", "add", name, *KEYRING)
            done = self.run("keys", "show", name, "-a", *KEYRING)
        return done.stdout.strip()

    def exported(self, name):
        """The private key of one of this node's keys, as hexadecimal text."""
        return self.run("keys", "export", name, "--unarmored-hex", "--unsafe", "--yes", *KEYRING).stdout.strip()

    def tx(self, *arguments, by="val", gas=900_000, wait=True, check=True, fees=FEES):
        """Sends a transaction. With `wait`: the result once it is in a block, else its hash."""
        sent = []
        asked = ("tx", *arguments, "--from", by, "--gas", gas, "--fees", fees, "-y", "-o", "json", *KEYRING)
        # A node that a supervisor is starting again took nothing: the same once more.
        refused = "connection refused"
        until(f"node{self.index} to take a transaction", lambda: sent.append(self.run(*asked, check=False)) or refused not in sent[-1].stderr, 60, 1)
        if sent[-1].returncode:
            raise RuntimeError(f"{' '.join(map(str, asked[:3]))}: exit code {sent[-1].returncode}: {sent[-1].stderr[-600:]}")
        answer = json.loads(sent[-1].stdout)
        if answer["code"]:
            raise RuntimeError(f"tx {arguments[:2]}: the node refuses it with code {answer['code']}: {answer['raw_log']}")
        return self.wait_tx(answer["txhash"], check) if wait else answer["txhash"]

    def wait_tx(self, tx, check=True, timeout=60):
        """The result of /tx?prove=true once the transaction is in a block."""
        answer = until(f"transaction {tx}", lambda: self.rpc.raw("tx", hash="0x" + tx, prove="true").get("result"), timeout)
        if check and answer["tx_result"]["code"]:
            raise RuntimeError(f"transaction {tx} failed in its block: {answer['tx_result']['log']}")
        return answer

    def memo(self, text, by="val", **how):
        """A transaction that carries a memo: one token sent to itself."""
        return self.tx("bank", "send", by, self.key(by) if by != "val" else self.address, f"1{DENOM}", "--note", text, by=by, **how)

    # -- files

    def configure(self, block, ids):
        """Ports, peers and times; called once, when every home exists. `ids`: of all nodes in the peer-to-peer network."""
        peers = ",".join(f"{ids[n.index]}@127.0.0.1:{n.p2p_port}" for n in self.network.nodes if n is not self)
        self.set_config({
            "rpc": {"laddr": f'"tcp://127.0.0.1:{self.rpc_port}"', "pprof_laddr": '""'},
            "p2p": {"laddr": f'"tcp://127.0.0.1:{self.p2p_port}"', "persistent_peers": f'"{peers}"', "allow_duplicate_ip": "true",
                    "addr_book_strict": "false", "persistent_peers_max_dial_period": '"2s"'},
            "consensus": {"timeout_commit": f'"{block}"', "timeout_propose": '"2s"'},
        })
        # Old heights must stay provable.
        self.set_app({"": {"pruning": '"nothing"', "minimum-gas-prices": f'"0.001{DENOM}"'},
                      "api": {"enable": "false"}, "grpc": {"enable": "false"}, "grpc-web": {"enable": "false"}})
        _set(self.home / "config/client.toml", {"": {
            "chain-id": f'"{self.network.chain_id}"', "keyring-backend": '"test"', "node": f'"tcp://127.0.0.1:{self.rpc_port}"'}})

    def set_app(self, sections):
        """Sets keys of app.toml: {section: {key: value as TOML text}}; the section before the first is ''."""
        _set(self.home / "config/app.toml", sections)

    def set_config(self, sections):
        """The same for config.toml."""
        _set(self.home / "config/config.toml", sections)

    def forget_votes(self, height=None):
        """After a rollback of every node: forgets the votes above a height (without one: on the last block), so that they can be cast again.

        Doing this while any validator still stands at that block is how one signs twice.
        """
        file = self.home / "data/priv_validator_state.json"
        state = json.loads(file.read_text())
        file.write_text(json.dumps({"height": str(int(state["height"]) - 1 if height is None else height), "round": 0, "step": 3}))
        shutil.rmtree(self.home / "data/cs.wal", ignore_errors=True)

    def comet_id(self):
        """The node's id in the peer-to-peer network."""
        return self.run("comet", "show-node-id").stdout.strip()

    # -- running

    def start(self, binary=None, cosmovisor=None, arguments=(), guard=()):
        """Starts the node: bare, or under cosmovisor with these settings ({} for the defaults).

        `guard` is put in front of the command: what it is, is the test's business.
        """
        if self.process and self.process.alive():
            raise RuntimeError(f"node{self.index} runs already, pid {self.process.pid}")
        if cosmovisor is None:
            command, env = [*guard, binary or self.network.binary, "start"], None
        else:
            command, env = [*guard, self.network.binaries / "cosmovisor", "run", "start"], self.cosmovisor_env(cosmovisor)
        command += ["--home", self.home, "--log_no_color", *arguments]
        self.process = Process.start(self.pid_file, command, self.log, env)
        return self.process

    def stop(self, grace=10.0):
        """Stops the node and whatever it started."""
        if self.process:
            self.process.stop(grace)
            self.process = None

    def wait_height(self, height, timeout=120):
        """Until this node has a block of at least this height; RuntimeError with its last words if it ends before."""
        def there():
            if (self.rpc.height() or 0) >= height:
                return True
            if self.process and not self.process.alive():
                raise RuntimeError(f"node{self.index} ended with code {self.process.code}: {self.last_words()} ({self.log})")
            return False
        return until(f"height {height} at node{self.index}", there, timeout)

    def last_words(self):
        """The last line of its log that says why it stopped."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if re.match(r"Error|panic|.*\b(ERR|FTL)\b", line)]
        return lines[-1][:500] if lines else "no error in its log"

    # -- cosmovisor

    def cosmovisor_env(self, more):
        """The environment that cosmovisor reads. Backups of `data` are off unless a test wants them."""
        return {**os.environ, "DAEMON_HOME": str(self.home), "DAEMON_NAME": "testchaind", "DAEMON_POLL_INTERVAL": "300ms",
                "COSMOVISOR_COLOR_LOGS": "false", "UNSAFE_SKIP_BACKUP": "true", **more}

    def install(self, binary, plan=None):
        """Puts a binary where cosmovisor looks: as the first one, or for a plan."""
        folder = self.home / "cosmovisor" / (f"upgrades/{plan}" if plan else "genesis") / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "testchaind"
        target.unlink(missing_ok=True)
        try:
            os.link(binary, target)
        except OSError:
            shutil.copy2(binary, target)
        return target

    def current(self):
        """The binary that cosmovisor would start: `genesis` or a plan's name."""
        link = self.home / "cosmovisor/current"
        return os.path.basename(os.readlink(link)) if link.is_symlink() else "genesis"


def _set(file, sections):
    """Sets keys of a TOML file, each of which must be there exactly once in its section."""
    lines, section = file.read_text().splitlines(), ""
    missing = {(s, k) for s, keys in sections.items() for k in keys}
    for at, line in enumerate(lines):
        head = re.match(r"\[([\w.-]+)\]", line)
        if head:
            section = head[1]
        key = line.split(" = ")[0]
        if (section, key) in missing:
            lines[at] = f"{key} = {sections[section][key]}"
            missing.discard((section, key))
    if missing:
        raise RuntimeError(f"{file} has no {sorted(missing)}")
    file.write_text("\n".join(lines) + "\n")
