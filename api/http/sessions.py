"""Logins of browsers, and the tokens as an admin sees them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from api.http import models
from api.http.failures import ApiError
from api.http.health import OPEN
from api.http.security import COOKIE, Who, needs, unauthenticated
from api.http.services import Served
from infra.present.values import iso
from infra.process.tokens import SESSION_NS, TokenError

router = APIRouter(prefix="/auth", tags=["sessions"])
tokens = APIRouter(prefix="/api/tokens", tags=["tokens"], dependencies=[needs("admin")])

NoContent: dict[int | str, dict[str, Any]] = {204: {"description": "Done."}}


@router.post("/login", status_code=204, openapi_extra=OPEN, responses=NoContent)
def login(services: Served, request: Request, asked: models.Login) -> Response:
    """Open a browser's session: a cookie that scripts cannot read and other sites cannot use."""
    found = services.tokens.find(asked.token.strip())
    if found is None or found.session:
        request.state.wrong_token()
        raise unauthenticated()
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE,
        services.tokens.login(found),
        max_age=SESSION_NS // 1_000_000_000,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/logout", status_code=204, responses=NoContent)
def logout(services: Served, who: Who) -> Response:
    """End a browser's session; a token stays what it is."""
    if who.cookie:
        services.tokens.logout(who.token)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/me", response_model=models.Me)
def me(who: Who) -> dict[str, Any]:
    """Who asks, and what that allows."""
    expires = who.token.expires
    return {
        "name": who.token.name,
        "scope": who.token.scope,
        "expires": None if expires is None else iso(expires),
    }


@tokens.get("", response_model=models.Tokens)
def listed(services: Served) -> dict[str, Any]:
    """Every token that was made, without its secret."""
    return {"items": services.tokens.listed()}


@tokens.delete("/{name}", status_code=204, responses=NoContent)
def revoke(
    services: Served, name: Annotated[str, Path(pattern=r"^[A-Za-z0-9_.@-]{1,64}$", examples=["ann"])]
) -> Response:
    """End a token, and every session with it, at once."""
    try:
        services.tokens.revoke(name)
    except TokenError as error:
        raise ApiError(404, "unknown_token", str(error), "GET /api/tokens lists them.") from None
    return Response(status_code=204)
