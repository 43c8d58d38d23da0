"""Classes of processors: which one a processor is in, and that libraries are set before they are loaded."""

import os
import subprocess
import sys

import pytest

from snrvae import processor
from tests.repository import ROOT

HASWELL = {"sse2", "avx", "avx2", "fma"}
SKYLAKE = HASWELL | processor.NEEDED["avx512"]
REPORT = "import stages; from snrvae import processor; print(processor.kernel())"


def test_every_vendor_of_a_class_computes_alike() -> None:
    zen = SKYLAKE | {"sse4a", "avx512vbmi2", "avx512bf16"}
    sapphire_rapids = SKYLAKE | {"avx512vbmi2", "avx512bf16", "avx512fp16"}
    assert processor.variables(SKYLAKE) == {
        "OPENBLAS_CORETYPE": "SkylakeX",
        "NPY_DISABLE_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "avx512",
    }
    for newer, off in ((zen, "AVX512_ICL"), (sapphire_rapids, "AVX512_ICL AVX512_SPR")):
        assert processor.variables(newer) == processor.variables(SKYLAKE) | {"NPY_DISABLE_CPU_FEATURES": off}


def test_a_processor_can_be_asked_for_older_instructions() -> None:
    older = processor.variables(HASWELL)
    assert older["OPENBLAS_CORETYPE"] == "Haswell"
    assert processor.variables(SKYLAKE, "avx2") == older | {"NPY_DISABLE_CPU_FEATURES": "X86_V4"}
    assert processor.variables(SKYLAKE, "avx512") == processor.variables(SKYLAKE)


def test_a_processor_without_a_class_is_left_alone() -> None:
    assert processor.variables({"neon"}) == {}


@pytest.mark.parametrize("flags", [HASWELL, {"neon"}])
def test_a_class_that_a_processor_lacks_is_refused(flags: set[str]) -> None:
    with pytest.raises(ValueError, match="SNRVAE_CPU=avx512: this processor has"):
        processor.variables(flags, "avx512")


def report(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", REPORT],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif("OPENBLAS_CORETYPE" not in os.environ, reason="a processor without a class")
def test_openblas_computes_with_the_kernel_of_the_class() -> None:
    assert report(OPENBLAS_CORETYPE="Nehalem").stdout.strip() == os.environ["OPENBLAS_CORETYPE"]
    assert report(SNRVAE_CPU="avx2").stdout.strip() == "Haswell"


@pytest.mark.parametrize("package", ["stages", "benchmarks", "examples", "tests.apart"])
def test_the_choice_comes_before_numpy_whatever_is_started(package: str) -> None:
    loaded = f"import sys, {package}; print(*({{'snrvae.processor', 'numpy'}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == [b"snrvae.processor"]


@pytest.mark.skipif("OPENBLAS_CORETYPE" not in os.environ, reason="a processor without a class")
@pytest.mark.parametrize(("elsewhere", "choice"), [("Nehalem", "NumPy's own"), ("", "{}'s")])
def test_a_process_knows_whether_numpy_was_loaded_before(elsewhere: str, choice: str) -> None:
    right = os.environ["OPENBLAS_CORETYPE"]
    ask = "import numpy; from snrvae import processor; print(processor.CHOICE)"
    environment = os.environ | {"OPENBLAS_CORETYPE": elsewhere or right}
    told = subprocess.check_output([sys.executable, "-c", ask], cwd=ROOT, env=environment, text=True)
    assert told.strip() == choice.format(right)


def test_an_unknown_class_ends_a_stage_in_one_line() -> None:
    ended = report(SNRVAE_CPU="sse9")
    assert ended.returncode == 1
    assert ended.stderr.startswith("SNRVAE_CPU=sse9: this processor has ")
    assert ended.stderr.count("\n") == 1
