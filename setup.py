"""What pyproject.toml cannot say: a wheel without the page's charts is not built."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CHARTS = Path("api/page/static/vendor/lightweight-charts.mjs")


class BuildPy(build_py):
    def run(self) -> None:
        if not self.editable_mode and not CHARTS.exists():
            raise SystemExit(f"the page is not built, {CHARTS} is missing: run `make setup` first")
        super().run()


setup(cmdclass={"build_py": BuildPy})
