"""A file that is there only when all is in it."""

import os
from pathlib import Path

import pytest

from infra.process.whole_file import whole_file


def test_a_file_changes_only_when_all_is_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(RuntimeError), whole_file(file) as target:
        target.write(b"half")
        raise RuntimeError
    assert (file.read_text(), list(tmp_path.iterdir())) == ("before", [file])
    with whole_file(file) as target:
        target.write(b"all")
    assert (file.read_text(), list(tmp_path.iterdir())) == ("all", [file])


def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(file)
    for text in ("new", "again"):
        with whole_file(link) as target:
            target.write(text.encode())
        assert (link.is_symlink(), file.read_text()) == (True, text)


def test_a_pipe_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with whole_file(pipe) as target:
        target.write(b"all")
    assert (os.read(reader, 10), pipe.is_fifo()) == (b"all", True)
    os.close(reader)
