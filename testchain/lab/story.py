"""What a run prints and what it has to show: a timeline with heights, checks, and the end."""
import sys
import time


class Missed(RuntimeError):
    """A check failed that the rest of the story stands on."""


class Timeline:
    """Prints each step with the seconds since the start and the chain's height, and keeps it in a file."""

    def __init__(self, file):
        self.began, self.file = time.monotonic(), open(file, "a", buffering=1)
        self.network = None
        self.passed, self.missed, self.figures = 0, [], {}

    def _height(self):
        if not self.network:
            return None
        heights = [n.rpc.height() for n in self.network.nodes if n.process]
        return max((h for h in heights if h), default=None)

    def line(self, mark, text):
        height = self._height()
        at = f"{time.monotonic() - self.began:7.1f} s  {'height ' + str(height) if height else 'no node up':>12}  {mark} {text}"
        print(at, flush=True)
        self.file.write(at + "\n")

    def say(self, text):
        self.line(" ", text)

    def check(self, holds, text, detail=""):
        """One thing that must hold. A miss is printed and counted; the run goes on and ends non-zero."""
        if holds:
            self.passed += 1
            self.line("ok  ", text)
        else:
            self.missed.append(text)
            self.line("MISS", f"{text}{': ' + str(detail) if detail != '' else ''}")
        return bool(holds)

    def need(self, holds, text, detail=""):
        """As `check`, and without it there is nothing to go on with."""
        if not self.check(holds, text, detail):
            raise Missed(text)

    def figure(self, name, value, unit):
        self.figures[name] = (value, unit)
        self.line("fig ", f"{name}: {value:g} {unit}" if isinstance(value, (int, float)) else f"{name}: {value} {unit}")

    def end(self):
        """Prints the sum; True where nothing was missed."""
        took = time.monotonic() - self.began
        print(f"{self.passed} checks held, {len(self.missed)} missed, {took:.0f} s")
        for text in self.missed:
            print(f"  missed: {text}", file=sys.stderr)
        return not self.missed
