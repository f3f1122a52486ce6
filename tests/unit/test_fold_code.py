"""Outputs carry the hash of the code that made them: all of it, and nothing else."""

from infra.worker.root import fold_sources


def test_the_fold_is_all_of_projections_and_the_encoding_of_events() -> None:
    names = set(fold_sources())
    assert {"projections/fold/pipeline.py", "projections/strategies/kernels.py"} <= names
    assert {"projections/strategies/sma_cross.py", "projections/audit/verify.py"} <= names
    streams = {f"streams/{name}.py" for name in ("causes", "codec", "events", "records", "ticks")}
    assert {name for name in names if not name.startswith("projections/")} == streams
