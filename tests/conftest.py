"""Several CPU devices, shapes checked at run time, and no silent broadcasting."""

from pathlib import Path

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
# many tests compile the same programs
cache = Path(__file__).parents[1] / ".pytest_cache" / "programs"
jax.config.update("jax_compilation_cache_dir", str(cache))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("jaxmia", "beartype.beartype")

import jaxtyping  # noqa: E402
import pytest  # noqa: E402

from jaxmia.report import raster  # noqa: E402

PICTURES = ("test_report", "test_page", "test_docs")  # the others' reports are many
EMPTY = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True, scope="module")
def pictures(request):
    """Charts as PNG, two seconds a report, are drawn where pictures are looked at, and by commands
    in processes of their own; elsewhere their files are empty."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in PICTURES:
            patch.setattr(raster, "png", lambda chart: EMPTY)
        yield


@pytest.fixture
def as_users_run():
    """Without the checks of shapes that only tests have: what a user's mistake really meets."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
