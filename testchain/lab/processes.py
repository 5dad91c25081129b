"""Processes that are stopped by their pid, even after the script that started them is gone.

Each process leads a session of its own and leaves a file NAME.pid. Whatever it starts (cosmovisor's node, a script that
cosmovisor runs) stays in that session, so the session is what gets stopped, never a name.
"""
import json
import os
import pathlib
import signal
import subprocess
import time


def _stat(pid):
    """(state, session, start time in clock ticks) of a process, or None where there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name stands in brackets and may hold anything, spaces and brackets too.
    rest = text[text.rindex(")") + 2:].split()
    return rest[0], int(rest[3]), int(rest[19])


def _session(pid, since):
    """The living members of a session that began at clock tick `since`."""
    found = []
    for entry in os.listdir("/proc"):
        stat = _stat(entry) if entry.isdigit() else None
        if stat and stat[0] not in "ZX" and stat[1] == pid and stat[2] >= since:
            found.append(int(entry))
    return found


class Process:
    """One process and all that it started."""

    def __init__(self, file):
        self.file = pathlib.Path(file)
        saved = json.loads(self.file.read_text())
        self.pid, self.since, self.command = saved["pid"], saved["since"], saved["command"]
        self.child = None

    @classmethod
    def start(cls, file, command, log, env=None, cwd=None):
        """Starts a command; its output is appended to the file `log`."""
        command = [str(c) for c in command]
        with open(log, "ab") as out:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                     env=env, cwd=cwd, start_new_session=True)
        file = pathlib.Path(file)
        file.write_text(json.dumps({"pid": child.pid, "since": _stat(child.pid)[2], "command": command}))
        process = cls(file)
        process.child = child
        return process

    @property
    def code(self):
        """Exit code (negative: a signal), or None while it runs or where it cannot be known."""
        return self.child.poll() if self.child else None

    def alive(self):
        """Whether the leader itself still runs."""
        if self.child:
            return self.child.poll() is None
        stat = _stat(self.pid)
        return bool(stat and stat[0] not in "ZX" and stat[2] == self.since)

    def members(self):
        """Pids of everything in its session that still runs."""
        return _session(self.pid, self.since)

    def send(self, number):
        """Sends a signal to the leader alone."""
        if self.alive():
            os.kill(self.pid, number)

    def kill(self):
        """SIGKILL to the leader alone: what it started lives on, as after a crash."""
        self.send(signal.SIGKILL)
        self._reap(5)

    def stop(self, grace=10.0):
        """SIGTERM to the leader, and after `grace` seconds SIGKILL to whatever is left of its session."""
        self.send(signal.SIGTERM)
        self._reap(grace)
        for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
            for pid in self.members():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            self._reap(0.1)
            until = time.monotonic() + patience
            while self.members() and time.monotonic() < until:
                time.sleep(0.05)
        left = self.members()
        if left:
            raise RuntimeError(f"processes {left} of {self.command[0]} do not stop")
        self.file.unlink(missing_ok=True)

    def _reap(self, seconds):
        until = time.monotonic() + seconds
        while self.alive() and time.monotonic() < until:
            time.sleep(0.05)


def stop_all(folder, grace=10.0):
    """Stops everything that left a pid file in a folder; returns their names."""
    processes = [Process(f) for f in sorted(pathlib.Path(folder).glob("*.pid"))]
    for process in processes:
        process.send(signal.SIGTERM)
    for process in processes:
        process.stop(grace)
    return [p.file.stem for p in processes]
