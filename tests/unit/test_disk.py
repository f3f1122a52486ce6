"""Arrays on the disk: there while they are used, gone with their process, refused where there is no room."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infra.research.disk import LOCK, SMALL, Disk, DiskError
from tests.conftest import resize
from tests.programs import ROOT

MANY = SMALL // 8 + 1
"""Numbers of an array that is large."""
KILLED = """
import os, pathlib, signal, sys
from infra.research.disk import Disk
disk = Disk(pathlib.Path(sys.argv[1]))
kept = disk.zeros(1_000_000, "i8")
os.kill(os.getpid(), signal.SIGKILL)
"""


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and file.name != LOCK]


def test_an_array_is_a_file_until_nobody_uses_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "research")
    array, other = disk.zeros((400_000, 2), np.float64), disk.zeros(500_000, [("a", "i8"), ("b", "i8")])
    assert array.flags.c_contiguous and type(array) is np.ndarray and not array.any()
    assert (array.shape, other.dtype.names) == ((400_000, 2), ("a", "b"))
    part = array[10:20]
    del array
    part[:] = 1.0
    assert len(files(tmp_path)) == 2
    del part
    assert len(files(tmp_path)) == 1
    del disk
    assert list((tmp_path / "research").iterdir()) == []
    other["a"] = 7
    assert other["a"].sum() == 3_500_000


def test_little_takes_no_file(tmp_path: Path) -> None:
    assert Disk(tmp_path).zeros((0, 5), np.float64).shape == (0, 5)
    assert Disk(tmp_path).zeros(SMALL, np.int8).nbytes == SMALL
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = next(tmp_path.iterdir())
    here, others = Disk(tmp_path), Disk(tmp_path)
    mine, theirs = here.zeros(MANY, "i8"), others.zeros(MANY, "i8")
    assert not left.exists()
    assert len(list(tmp_path.iterdir())) == len(files(tmp_path)) == 2
    assert len(mine) == len(theirs)


def test_a_child_that_was_forked_removes_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    arrays = [disk.zeros(MANY, "i8")]
    child = os.fork()
    if not child:
        del arrays[:], disk
        os._exit(0)
    os.waitpid(child, 0)
    assert len(files(tmp_path)) == 1


def test_where_there_is_no_room_the_error_says_so_and_nothing_is_left(small_disk: Path) -> None:
    disk = Disk(small_disk / "research")
    said = r"8,000,000 bytes of bars cannot be kept in .*research \(No space left on device\): let TCPD_HOME"
    with pytest.raises(DiskError, match=said) as full:
        disk.zeros(1_000_000, np.int64)
    assert full.value.errno is not None and files(small_disk) == []
    resize(small_disk, "20m")
    assert disk.zeros(1_000_000, np.int64).nbytes == 8_000_000
    del disk, full  # or the file system cannot be taken away
