"""Strict mode for every test: eight fake devices, no silent broadcasting across ranks, no network."""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests compile hundreds of tiny programs and run each a few times: compiling them well takes most of the time.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


# Files that take minutes begin first: a process must not be left alone with one at the end.
LONG = (
    "test_docs_run",
    "test_real",
    "test_hosts_agree",
    "test_methods",
    "test_plan",
    "test_hosts_stops",
    "test_run",
    "test_frozen",
    "test_main",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


# Files whose tests look at pictures on a run's page.
PICTURED = ("test_pages", "test_report", "test_adapt")


@pytest.fixture(scope="module", autouse=True)
def plain_pages(request):
    """No maps of features and mistakes on the pages of all other runs: they take seconds. TL_TESTS=all draws them."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("TL_TESTS") != "all" and request.path.stem not in PICTURED:
            from tl import mistakes
            from tl.evaluators import embedding

            patch.setattr(mistakes, "overlays", lambda *_: {})
            patch.setattr(embedding, "plane", lambda _: None)
        yield


@pytest.fixture(scope="session")
def tl_data() -> pathlib.Path:
    """The folder of real data and weights, or a skip that says what is missing."""
    folder = os.environ.get("TL_DATA")
    if not folder:
        pytest.skip("TL_DATA is not set: tests on real data and weights did not run")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def host_environment(request) -> dict[str, str]:
    """Of every process: float64, and compiled programs kept from one session to the next."""
    flags = {"TL_CACHE": str(request.config.cache.mkdir("compiled")), "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **flags, "PYTHONPATH": path}


@pytest.fixture(scope="session")
def host_data(tmp_path_factory) -> pathlib.Path:
    """Images of four brightnesses."""
    rng, arrays = np.random.default_rng(0), {}
    for split, n in (("train", 40), ("val", 24), ("test", 24)):
        labels = np.arange(n) % 4
        arrays[f"y_{split}"] = labels
        arrays[f"x_{split}"] = rng.normal(60 + 40 * labels[:, None, None], 40, (n, 8, 8)).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path
