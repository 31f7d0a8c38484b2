"""The errors of the toolbox, in the daemon's envelope. No routing."""

from datetime import UTC, datetime

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    410: "GONE",
    422: "UNPROCESSABLE_ENTITY",
    500: "INTERNAL_SERVER_ERROR",
}
BAD_GATEWAY = 502


class ToolboxError(Exception):
    """An error that answers the request. A 502 has an empty body, like the proxy's."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or CODES.get(status, "")
        self.headers = headers or {}

    def response(self, request: HTTPConnection) -> Response:
        """Return the error as the answer to a request."""
        if self.status == BAD_GATEWAY:
            return Response(status_code=BAD_GATEWAY, headers=self.headers)
        body = {
            "statusCode": self.status,
            "message": self.message,
            "code": self.code,
            "source": "DAYTONA_DAEMON",
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "path": request.url.path,
            "method": request.scope.get("method", "GET"),
        }
        return JSONResponse(body, self.status, self.headers)


def unreachable() -> ToolboxError:
    """Return the proxy's answer when the daemon is not up, or ends during a request."""
    return ToolboxError(BAD_GATEWAY, "")
