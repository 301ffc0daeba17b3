"""Strict mode for every test: eight fake devices, no silent broadcasting across ranks, no network."""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests compile hundreds of tiny programs and run each a few times: optimising them takes most of the time.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def tl_data() -> pathlib.Path:
    """The folder of real data and weights, or a skip that says what is missing."""
    folder = os.environ.get("TL_DATA")
    if not folder:
        pytest.skip("TL_DATA is not set: tests on real data and weights did not run")
    return pathlib.Path(folder)
