"""Which files of trades are meant by paths: files as they are, folders by what is in them."""

from collections.abc import Callable, Iterable
from pathlib import Path

from infra.exchange.files import in_order
from infra.exchange.forms import FileOptions
from infra.exchange.pieces import FileReadError
from infra.exchange.trade_file import NoRowsError, TradeFile

SUFFIXES = frozenset(
    (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".feather", ".arrow", ".gz", ".zip")
)
"""Names of files that are taken from a folder; beside them archives hold checksums and the like."""


def trade_files(paths: Iterable[Path], options: FileOptions, say: Callable[[str], None]) -> list[TradeFile]:
    """The files of paths in the order of their first trades; `say` is told of what is passed over.

    Raises `FileReadError`, also where nothing is left.
    """
    found = _found(paths, say)
    files: list[TradeFile] = []
    for path in found:
        try:
            files.append(TradeFile(path, options))
        except NoRowsError as error:
            if len(found) == 1:
                raise
            say(f"{error}: passed over")
    if not files:
        raise FileReadError("none of the files has trades")
    return in_order(files)


def _found(paths: Iterable[Path], say: Callable[[str], None]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        taken = [file for file in inside if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        if not taken:
            raise FileReadError(
                f"{path}: no file in it has a name that ends as those of trades, such as .csv"
            )
        if len(taken) < len(inside):
            say(f"{path}: {len(inside) - len(taken)} files of other names are passed over")
        found |= dict.fromkeys(taken)
    return list(found)
