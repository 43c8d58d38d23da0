"""A worker of a Dask cluster: `python -m stages.worker ADDRESS`, with the options of `dask worker`.

Dask loads NumPy. Before that, this package has chosen NumPy's instructions (snrvae/processor.py).
"""

from distributed.cli.dask_worker import main

if __name__ == "__main__":
    main()
