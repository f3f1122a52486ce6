"""What pyproject.toml cannot say: a wheel without the charts of page and reports is not built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHARTS = Path("infra/present/vendor/lightweight-charts.mjs")


class BuildPy(build_py):
    def run(self) -> None:
        if not self.editable_mode and not CHARTS.exists():
            raise SystemExit(f"the charts are not there, {CHARTS} is missing: run `make setup` first")
        super().run()


setup(cmdclass={"build_py": BuildPy})
