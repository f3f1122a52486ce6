"""Arrays that are made for a while."""

import gc
import weakref

import numpy as np
import pytest

from projections.research.arrays import passing


@pytest.mark.parametrize("shape", [(0,), (7,), (3, 4), (2, 0, 5)])
def test_an_array_that_passes_is_one_of_zeros_that_can_be_written_to(shape: tuple[int, ...]) -> None:
    found = passing(shape, np.int64)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == (shape, np.int64, True)
    assert not found.any()
    found += 3
    assert (found == 3).all()


def test_the_pages_of_an_array_that_passes_go_with_the_last_that_looks_at_it() -> None:
    found = passing((1_000,), "f8")
    pages = weakref.ref(found.base)
    view = found[10:20]
    del found
    view[:] = 1.0
    assert pages() is not None
    del view
    gc.collect()
    assert pages() is None
