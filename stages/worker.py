"""A worker of a Dask cluster: `python -m stages.worker ADDRESS`, with the options of `dask worker`.

Dask itself loads NumPy, whose instructions have to be chosen before (snrvae/processor.py).
"""

from distributed.cli.dask_worker import main

if __name__ == "__main__":
    main()
