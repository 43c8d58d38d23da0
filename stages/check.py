"""Check params.yaml before anything runs, since DVC does not see a key that no stage lists."""

from snrvae import processor
from snrvae.settings.params import Params
from stages import files


def check(params: Params) -> None:
    """Raise ValueError if this machine lacks the engine; `files.run` has checked the settings."""
    files.show(
        f"Numbers are computed with OpenBLAS's kernel {processor.kernel()} (docs/reproducibility.md)\n"
    )
    if params.train.engine != "compiled":
        from snrvae.training import engines  # noqa: PLC0415 - the default starts without PyTorch

        engines.check(params)


if __name__ == "__main__":
    files.run(check)
