"""A strategy's code is all that its file reaches: hashed, kept, and loaded as it was."""

import shutil
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from infra.strategies.archive import ArchiveError, export, take
from infra.strategies.registry import Strategies, load_strategies
from infra.strategies.sources import read_sources
from projections.strategies.code import StrategyCode
from tests.unit.test_strategies import Group

STRATEGY = """{imports}
from projections.strategies import BaseStrategy, Signal

class Mine(BaseStrategy):
    def process_data(self, df):
        {inside}
        return Signal({target})
"""
COMPILED = """import one
from projections.strategies import BaseStrategy

class Mine(BaseStrategy):
    @staticmethod
    def signal(bar, x, p, pos):
        return one.target()
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def load(tmp_path: Path, file: str = "mine.py") -> Strategies:
    return load_strategies(tmp_path / "kernels", [tmp_path / "my" / file])


def mine(strategies: Strategies) -> StrategyCode:
    assert strategies.broken == []
    return strategies.latest("mine")


def target(code: StrategyCode | None) -> float:
    assert code is not None
    group = Group(code, [{}])
    assert group.step([1.0]) == []
    return float(group.lanes.target[0])


def strategy(imports: str, target: str, inside: str = "pass") -> str:
    return STRATEGY.format(imports=imports, target=target, inside=inside)


PACK = {"pack/__init__.py": ""}
DEEP = {**PACK, "pack/deep/__init__.py": ""}
NAMED = {"pack/__init__.py": '__all__ = ["inner"]'}
AGAIN = "import mine\nimport two\ndef get(): return two.X"
TRIED = "try:\n    import one\nexcept ImportError:\n    one = None"
ONE = {"mine.py": strategy("import one", "one.X"), "one.py": "X = 0.5"}
FORMS = {
    "two imports away": ("mine.py", strategy("import one", "one.two.X"), {"one.py": "import two"}, "two.py"),
    "a module of a package": (
        "mine.py",
        strategy("import pack.inner", "pack.inner.X"),
        PACK,
        "pack/inner.py",
    ),
    "a package's own file": (
        "mine.py",
        strategy("import pack.inner", "pack.X"),
        {"pack/inner.py": ""},
        "pack/__init__.py",
    ),
    "from a package": ("mine.py", strategy("from pack import inner", "inner.X"), PACK, "pack/inner.py"),
    "a folder without an init": (
        "mine.py",
        strategy("from pack.deep import inner", "inner.X"),
        {},
        "pack/deep/inner.py",
    ),
    "all of a module": (
        "mine.py",
        strategy("from one import *", "X"),
        {"one.py": "from two import *"},
        "two.py",
    ),
    "all of a package": ("mine.py", strategy("from pack import *", "inner.X"), NAMED, "pack/inner.py"),
    "from beside it": ("mine.py", strategy("from . import one", "one.X"), {}, "one.py"),
    "relative": ("mine.py", strategy("from .one import X", "X"), {}, "one.py"),
    "in a package, from the one above": (
        "pack/deep/mine.py",
        strategy("from ..one import X", "X"),
        DEEP,
        "pack/one.py",
    ),
    "in a package, by its whole name": (
        "pack/mine.py",
        strategy("import pack.one", "pack.one.X"),
        PACK,
        "pack/one.py",
    ),
    "within a function": ("mine.py", strategy("", "one.X", "import one"), {}, "one.py"),
    "import_module": (
        "mine.py",
        strategy("import importlib\none = importlib.import_module('one')", "one.X"),
        {},
        "one.py",
    ),
    "import_module, by keyword": (
        "mine.py",
        strategy("import importlib\none = importlib.import_module(name='one')", "one.X"),
        {},
        "one.py",
    ),
    "import_module by another name": (
        "mine.py",
        strategy("from importlib import import_module as get", "get('pack.inner').X"),
        PACK,
        "pack/inner.py",
    ),
    "import_module, relative": (
        "pack/mine.py",
        strategy("import importlib as i\none = i.import_module('.one', __package__)", "one.X"),
        PACK,
        "pack/one.py",
    ),
    "__import__": ("mine.py", strategy("one = __import__('one')", "one.X"), {}, "one.py"),
    "each the other": ("mine.py", strategy("import one", "one.two.X"), {"one.py": "import two"}, "two.py"),
    "the strategy again": ("mine.py", strategy("import one", "one.get()"), {"one.py": AGAIN}, "two.py"),
    "of the name of a standard one": (
        "mine.py",
        strategy("import statistics", "statistics.X"),
        {},
        "statistics.py",
    ),
    "where it is tried": ("mine.py", strategy(TRIED, "one.X"), {}, "one.py"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_reached_is_hashed_and_kept(tmp_path: Path, form: str) -> None:
    file, text, others, last = FORMS[form]
    more = "\nimport one" if form == "each the other" else ""
    write(tmp_path / "my", {file: text, **others, last: f"X = 0.5{more}\n"})
    old = mine(load(tmp_path, file))
    assert target(old) == 0.5
    write(tmp_path / "my", {last: f"X = 0.25{more}\n"})
    today = load(tmp_path, file)
    assert mine(today).code_hash != old.code_hash
    assert target(mine(today)) == 0.25
    shutil.rmtree(tmp_path / "my")
    assert target(load_strategies(tmp_path / "kernels").get("mine", old.code_hash)) == 0.5


def test_old_machine_code_runs_nowhere_after_a_change_two_imports_away(tmp_path: Path) -> None:
    two = "from numba import njit\n\n@njit(cache=True)\ndef value():\n    return {}\n"
    one = two.replace("value", "target").format("value()") + "\nfrom two import value\n"
    write(tmp_path / "my", {"mine.py": COMPILED, "one.py": one, "two.py": two.format(0.5)})
    old = mine(load(tmp_path))
    assert target(old) == 0.5
    write(tmp_path / "my", {"two.py": two.format(0.25)})
    today = load(tmp_path)
    assert target(mine(today)) == 0.25
    for cache in list((tmp_path / "kernels").rglob("__pycache__")):
        shutil.rmtree(cache)
    assert target(today.get("mine", old.code_hash)) == 0.5


def test_fastmath_is_refused_in_a_file_that_is_reached_too(tmp_path: Path) -> None:
    one = "from numba import njit\n\n@njit(fastmath=True)\ndef target():\n    return 0.5\n"
    write(tmp_path / "my", {"mine.py": COMPILED, "one.py": one})
    (error,) = load(tmp_path).broken
    assert "target has fastmath or parallel" in error.reason


def test_two_strategies_that_share_a_file_have_it_each_for_itself(tmp_path: Path) -> None:
    other = strategy("import one", "one.X").replace("Mine", "Other")
    write(
        tmp_path / "my",
        {"mine.py": strategy("import one\none.X = -1", "one.X"), "other.py": other, "one.py": "X = 0.5"},
    )
    strategies = load_strategies(tmp_path / "kernels", [tmp_path / "my/mine.py", tmp_path / "my/other.py"])
    assert target(strategies.latest("mine")) == -1
    assert target(strategies.latest("other")) == 0.5
    assert "one" not in sys.modules


def test_a_module_that_was_not_there_is_not_there_for_old_code(tmp_path: Path) -> None:
    tried = strategy("try:\n    import one\n    X = one.X\nexcept ModuleNotFoundError:\n    X = 0.5", "X")
    write(tmp_path / "my", {"mine.py": tried})
    old = mine(load(tmp_path))
    write(tmp_path / "my", {"one.py": "X = 0.25"})
    today = load(tmp_path)
    assert (target(mine(today)), target(today.get("mine", old.code_hash))) == (0.25, 0.5)


def test_a_file_beside_it_that_is_not_reached_changes_nothing(tmp_path: Path) -> None:
    write(
        tmp_path / "my",
        {"mine.py": strategy("import one", "one.X"), "one.py": "X = 0.5", "other.py": "X = 1"},
    )
    before = mine(load(tmp_path)).code_hash
    write(tmp_path / "my", {"other.py": "X = 2"})
    assert mine(load(tmp_path)).code_hash == before


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("import importlib\nx = 'one'\none = importlib.import_module(x)", 3, "importlib.import_module"),
        ("import importlib as i\none = i.reload(i)", 2, "importlib.reload"),
        ("from importlib import import_module as f\ng = f", 2, "import_module"),
        ("one = __import__('o' + 'ne')", 1, "__import__"),
        ("one = __import__('one', fromlist=[])", 1, "__import__"),
        ("import builtins\none = builtins.__import__('one')", 2, "__import__"),
        ("\nfrom importlib import util", 2, "importlib.util"),
        ("import importlib.util", 1, "importlib.util"),
        ("import runpy", 1, "runpy"),
        ("exec('import one')", 1, "exec"),
        ("def f():\n    return eval('1')", 2, "eval"),
        ("compile('1', 'x', 'eval')", 1, "compile"),
    ],
)
def test_other_ways_to_run_code_are_refused_by_name_wherever_they_stand(
    tmp_path: Path, text: str, line: int, name: str
) -> None:
    write(tmp_path / "my", {"mine.py": strategy("import one", "one.X"), "one.py": "X = 0.5\n"})
    assert load(tmp_path).broken == []
    write(tmp_path / "my", {"one.py": text})
    (error,) = load(tmp_path).broken
    assert (error.file, error.line) == (str(tmp_path / "my" / "one.py"), line)
    assert error.reason.startswith(f"{name} runs code that the file does not name")


@pytest.mark.parametrize(
    "text", ["import re\nX = re.compile('x')", "from re import compile\nX = compile('x')"]
)
def test_what_only_looks_like_it_is_not_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path / "my", {"mine.py": text + "\n" + strategy("from importlib import metadata", "0.5")})
    assert target(mine(load(tmp_path))) == 0.5


def test_what_is_imported_out_of_sight_is_refused_when_it_runs(tmp_path: Path) -> None:
    hidden = "getattr(importlib, 'import_' + 'module')('one').X"
    write(tmp_path / "my", {"mine.py": strategy("import importlib\nimport sys", hidden), "one.py": "X = 0.5"})
    (failure,) = Group(mine(load(tmp_path)), [{}]).step([1.0])
    assert failure.message == "ImportError raised in line 8 of the strategy's file"


def test_a_module_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    write(tmp_path / "my", {"mine.py": strategy("import one", "one.X"), "one.py": "\nfrom . import missing"})
    (error,) = load(tmp_path).broken
    assert (error.file, error.line) == (str(tmp_path / "my" / "one.py"), 2)
    assert "missing" in error.reason
    write(tmp_path / "my", {"one.py": "X = 1\ndef broken(:\n"})
    (error,) = load(tmp_path).broken
    assert (error.file, error.line) == (str(tmp_path / "my" / "one.py"), 2)
    assert error.reason.startswith("SyntaxError")


def test_a_compiled_module_of_ones_own_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "my", {"mine.py": strategy("import one", "one.X"), "one.abi3.so": ""})
    (error,) = load(tmp_path).broken
    assert (
        error.reason == "one is no Python text, and cannot be kept with the strategy: install it as a package"
    )


def test_installed_distributions_count_by_their_version_and_are_not_kept(tmp_path: Path) -> None:
    write(
        tmp_path / "my", {"mine.py": strategy("import one", "0.5"), "one.py": "import pandas, msgspec, json"}
    )
    sources = read_sources(tmp_path / "my" / "mine.py")
    assert list(sources.files) == ["__main__.py", "one.py"]
    assert set(sources.versions) == {"pandas", "msgspec"}


def test_an_edited_installation_is_the_authors_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = {"site-packages/edited-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: edited\nVersion: 1\n"}
    record = {"site-packages/edited-1.dist-info/RECORD": "edited-1.dist-info/METADATA,,\n"}
    write(
        tmp_path,
        {
            **info,
            **record,
            "project/edited.py": "X = 0.5",
            "my/mine.py": strategy("import edited", "edited.X"),
        },
    )
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(tmp_path / "project")
    assert list(read_sources(tmp_path / "my" / "mine.py").files) == ["__main__.py", "edited.py"]


def test_a_link_is_followed_under_its_own_name(tmp_path: Path) -> None:
    write(tmp_path, {"my/mine.py": strategy("import pack", "pack.X"), "elsewhere/any.py": "X = 0.5"})
    (tmp_path / "my" / "pack").mkdir()
    (tmp_path / "my" / "pack" / "__init__.py").symlink_to(tmp_path / "elsewhere" / "any.py")
    assert target(mine(load(tmp_path))) == 0.5
    assert list(read_sources(tmp_path / "my" / "mine.py").files) == ["__main__.py", "pack/__init__.py"]


# ---------------------------------------------------------------- archives


def test_what_an_archive_lacks_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "my", ONE)
    old = mine(load(tmp_path)).code_hash
    (kept,) = (tmp_path / "kernels" / "sources").glob("*/one.py")
    kept.write_text("X = 0.25")
    assert load_strategies(tmp_path / "kernels").get("mine", old) is None
    assert "one.py in" in caplog.text
    assert "is not what it was" in caplog.text
    kept.unlink()
    assert load_strategies(tmp_path / "kernels").get("mine", old) is None
    assert f"{kept} is missing" in caplog.text
    with pytest.raises(ArchiveError, match=r"one\.py is missing"):
        export(tmp_path / "kernels", [old], tmp_path / "code.zip")


def test_an_exported_file_holds_what_was_asked_for_and_is_not_believed(
    tmp_path: Path,
) -> None:
    write(tmp_path / "my", ONE)
    hash_ = mine(load(tmp_path)).code_hash
    file = tmp_path / "code.zip"
    export(tmp_path / "kernels", [hash_], file)
    again = tmp_path / "again.zip"
    export(tmp_path / "kernels", [hash_], again)
    assert file.read_bytes() == again.read_bytes()
    (code,) = take(file, tmp_path / "other")
    assert (code.hash, list(code.sources.files)) == (hash_, ["__main__.py", "one.py"])
    assert target(load_strategies(tmp_path / "other").get("mine", hash_)) == 0.5

    with zipfile.ZipFile(file) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    for name, data in members.items():
        for changed in ({**members, name: data + b"\n"}, {n: d for n, d in members.items() if n != name}):
            with zipfile.ZipFile(again, "w") as altered:
                for path, content in changed.items():
                    altered.writestr(path, content)
            with pytest.raises(ArchiveError):
                take(again, tmp_path / "empty")
            assert not (tmp_path / "empty").exists()
    older = b"NAME = 'mine'\n"
    with zipfile.ZipFile(again, "w") as altered:
        altered.writestr(f"{sha256(older).hexdigest()}.py", older)
    with pytest.raises(ArchiveError, match="is no code that this release wrote"):
        take(again, tmp_path / "empty")
    again.write_bytes(b"PK no zip")
    with pytest.raises(ArchiveError, match="is no archive of strategies"):
        take(again, tmp_path / "empty")
