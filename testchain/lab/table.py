"""cosmovisor, the real one, against each answer that a hook or a guard can give."""


def run(options):
    raise NotImplementedError
