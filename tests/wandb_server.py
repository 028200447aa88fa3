"""A stand-in for W&B's server: as much of its public API as reads the files of a project's runs."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LAST_PAGE = {"endCursor": None, "hasNextPage": False}
VIEWER = {"id": "1", "entity": "team", "username": "user", "email": "", "flags": "{}", "teams": {"edges": []}}
MOMENT = "2026-01-01T00:00:00"
NOTHING = dict.fromkeys(("sweepName", "commit", "description", "notes"))


@contextmanager
def serving(runs: Mapping[str, bytes | None]) -> Iterator[str]:
    """Serve runs by id, each with its record or none, all of the group "quickstart"; gives the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) if self.path == "/graphql" else {}
            self._answer(json.dumps({"data": answer(asked)}).encode())

        def do_GET(self) -> None:
            self._answer(runs[self.path.removeprefix("/")] or b"")

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
        named = re.search(r"query (\w+)", asked.get("query", ""))
        match named and named[1]:
            case "Viewer" | "GetDefaultEntity":
                return {"viewer": VIEWER}
            case "Runs":
                wanted = json.loads(asked["variables"]["filters"]).get("group", "quickstart") == "quickstart"
                found = edges(described(run) for run in runs if wanted)
                return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": found}}
            case "RunFiles":
                run = asked["variables"]["name"]
                files = [file(run, name) for name in asked["variables"]["fileNames"] if runs[run] is not None]
                return {"project": {"internalId": "1", "run": {"fileCount": len(files), "files": edges(files)}}}
        return {}

    def file(run: str, name: str) -> dict[str, Any]:
        url = f"{address}/{run}"
        size = len(runs[run] or b"")
        kind = {"mimetype": "application/json", "md5": "", "updatedAt": MOMENT}
        return {"id": run, "name": name, "url": url, "directUrl": url, "sizeBytes": size, **kind}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def described(run: str) -> dict[str, Any]:
    times = {"createdAt": MOMENT, "heartbeatAt": MOMENT, "historyLineCount": 0, "user": VIEWER | {"name": "user"}}
    kind = {"tags": [], "state": "finished", "group": "quickstart", "jobType": "snip", "readOnly": False}
    return {
        "id": run,
        "projectId": "1",
        "name": run,
        "displayName": run,
        "historyLineCount": 0,
        **NOTHING,
        **times,
        **kind,
    }


def edges(nodes: Any) -> dict[str, Any]:
    return {"edges": [{"node": node, "cursor": "c"} for node in nodes], "pageInfo": LAST_PAGE}
