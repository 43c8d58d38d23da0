"""Check params.yaml before anything runs: a key that no stage lists would go unseen by DVC."""

from snrvae.settings.params import Params
from stages import files


def check(params: Params) -> None:
    """Nothing to do: `files.run` has checked the settings."""


if __name__ == "__main__":
    files.run(check)
