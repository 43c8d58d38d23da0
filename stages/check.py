"""Check params.yaml before anything runs: a key that no stage lists would go unseen by DVC."""

from snrvae import processor
from snrvae.settings.params import Params
from stages import files


def check(params: Params) -> None:
    """`files.run` has checked the settings; what is left is whether this machine has the engine."""
    files.show(
        f"Numbers are computed with OpenBLAS's kernel {processor.kernel()} (docs/reproducibility.md)\n"
    )
    if params.train.engine != "compiled":
        from snrvae.training import engines  # noqa: PLC0415 - the default starts without PyTorch

        engines.check(params)


if __name__ == "__main__":
    files.run(check)
