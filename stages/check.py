"""Check params.yaml before anything runs: a key that no stage lists would go unseen by DVC."""

from snrvae.settings.params import Params
from snrvae.training import engines
from stages import files


def check(params: Params) -> None:
    """`files.run` has checked the settings; what is left is the machine."""
    engines.check(params)


if __name__ == "__main__":
    files.run(check)
