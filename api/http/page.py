"""The page: static files, which everybody may have, since they hold no data.

Why: ADR 15.
"""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import api
import infra
from api.http.security import PAGE

FOLDER = Path(api.__file__).parent / "page" / "static"
CHARTS = Path(infra.__file__).parent / "present" / "vendor"
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline."""
HEADERS = {"content-security-policy": POLICY, "cache-control": "no-cache"}
"""A browser keeps the files and asks each time, by their ETag, whether they still stand."""

router = APIRouter()


@router.get("/", include_in_schema=False)
def index() -> FileResponse:
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


def mount(app: FastAPI) -> None:
    """Serve the page at `/` and what it is made of below `PAGE`."""
    app.include_router(router)
    app.mount(f"{PAGE}vendor", _Files(directory=CHARTS))
    app.mount(PAGE, _Files(directory=FOLDER))


class _Files(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response
