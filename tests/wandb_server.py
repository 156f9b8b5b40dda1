"""As much of a W&B server as wandb asks for: runs that are begun, gone on with and streamed to.

Keeps what comes; answers as the real one does to the few questions of this client.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

_HISTORY, _SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


@dataclass
class KeptRun:
    """What came of one run."""

    variables: dict[str, Any] = field(default_factory=dict)  # of its upserts
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    def take(self, files: dict[str, Any]) -> None:
        """Lines of files; each chunk says which line it begins at."""
        if chunk := files.get(_HISTORY):
            self.history[chunk["offset"] :] = map(json.loads, chunk["content"])
        if chunk := files.get(_SUMMARY):
            self.summary = json.loads(chunk["content"][-1])

    @property
    def config(self) -> dict[str, Any]:
        """Without what wandb adds."""
        kept = json.loads(self.variables["config"])
        return {key: item["value"] for key, item in kept.items() if key != "_wandb"}


class WandbServer(ThreadingHTTPServer):
    """On a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, KeptRun] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def close(self) -> None:
        """End it; who asks then is refused."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up in the middle is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def run(self, name: str) -> KeptRun:
        return self.runs.setdefault(name, KeptRun())


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        self._content()
        self._answer({})

    def do_POST(self) -> None:
        asked = json.loads(self._content() or b"{}")
        if self.path.endswith("/graphql"):
            operation = asked.get("operationName") or ""
            if "rtifact" in asked["query"]:  # of tables; wandb says so in its log, and goes on
                self._answer({"errors": [{"message": "no artifacts here"}]})
                return
            reply = getattr(_Replies, operation, _Replies.others)
            self._answer({"data": reply(self.server, asked.get("variables") or {})})
        elif self.path.endswith("/file_stream"):
            run = self.server.run(self.path.split("/")[-2])
            run.take(asked.get("files") or {})
            run.exit_codes += [asked["exitcode"]] if asked.get("complete") else []
            self._answer({"exitcode": None, "limits": {}})
        else:
            self._answer({})

    def _content(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_packed = self.headers.get("Content-Encoding") == "gzip"
        return gzip.decompress(content) if is_packed else content

    def _answer(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Replies:
    """By the names of the operations."""

    PROJECT: ClassVar[Any] = {"id": "p", "name": "blippose", "entity": {"id": "e", "name": "me"}}

    @staticmethod
    def others(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "name": "me"}
        viewer |= {"email": "me", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": None}

    @staticmethod
    def RunResumeStatus(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  operations' names
        run = server.runs.get(variables["name"])
        if run is None:
            return {"model": None}
        bucket = {
            "id": f"id-{variables['name']}",
            "name": variables["name"],
            "displayName": run.variables.get("displayName"),
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "config": run.variables["config"],
            "tags": [],
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {**_Replies.PROJECT, "bucket": bucket}}

    @staticmethod
    def UpsertBucket(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = server.run(variables["name"])
        run.variables |= {key: value for key, value in variables.items() if value is not None}
        bucket = {
            "id": f"id-{variables['name']}",
            "name": variables["name"],
            "displayName": run.variables.get("displayName"),
            "description": None,
            "config": run.variables.get("config", "{}"),
            "sweepName": run.variables.get("sweep"),
            "project": _Replies.PROJECT,
            "historyLineCount": len(run.history),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    @staticmethod
    def CreateRunFiles(server: WandbServer, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": f, "uploadUrl": f"{server.url}/files"} for f in variables["files"]]
        reply = {"runID": variables["run"], "uploadHeaders": [], "files": files}
        return {"createRunFiles": reply}
