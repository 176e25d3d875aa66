"""The control plane under /_control, the same for every simulator; no part of a provider's API.

GET  health                 {"status": "ok"}
GET  config                 the settings in force
POST config                 any of the settings of `delivery.Settings`
GET  events                 every event emitted, with its state and the results of its deliveries;
                            ?last=100: only so many of the latest
POST events/{id}/send       delivers that event again, freshly signed
POST flush                  delivers what is held; {"order": "reversed"} turns it round
POST faults                 {"method", "path_prefix", "kind", "status", "times", "seconds"}
POST reset                  forgets everything, the settings too
"""

import argparse
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from flask import Blueprint, Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from local.simulators.delivery import MODES, Outbox, Settings

FAULT_KINDS = ("timeout_before", "timeout_after", "garbled", "status")


@dataclass
class Fault:
    """What goes wrong with the next `times` matching calls to the provider's API.

    timeout_before drops the connection before anything is done, timeout_after once it is done,
    both after `seconds`; garbled does it and answers with half of a body; status answers with that
    status instead of doing anything. The method * is any.
    """

    kind: str
    method: str = "POST"
    path_prefix: str = "/v1/"
    status: int = 500
    times: int = 1
    seconds: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        is_method = self.method in ("*", method)
        return self.times > 0 and is_method and path.startswith(self.path_prefix)


class Simulator(Protocol):
    """What the control plane needs to know of a simulator."""

    lock: threading.RLock
    outbox: Outbox
    faults: list[Fault]

    def reset(self) -> None: ...


def required(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """The body, once it is sure that it has these fields."""
    if missing := [name for name in names if not body.get(name)]:
        abort(400, f"give {', '.join(missing)}")
    return body


def body_of_request() -> dict[str, Any]:
    """The JSON body of a control call, however curl labelled it; {} when there is none."""
    body = request.get_json(force=True) if request.get_data() else {}
    if not isinstance(body, dict):
        abort(400, "the body must be a JSON object")
    return body


def take_fault(simulator: Simulator, method: str, path: str) -> Fault | None:
    """The fault that this call meets, if any; counts it as used."""
    with simulator.lock:
        for fault in simulator.faults:
            if fault.matches(method, path):
                fault.times -= 1
                simulator.faults[:] = [kept for kept in simulator.faults if kept.times > 0]
                return fault
    return None


def drop_connection(fault: Fault) -> Response:
    """Closes the client's connection without an answer: what happened stays unknown to it."""
    time.sleep(fault.seconds)
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    return Response(status=500)


def spoiled(fault: Fault, response: Response) -> Response:
    """What becomes of the answer to a call that was executed."""
    if fault.kind == "timeout_after":
        return drop_connection(fault)
    if fault.kind == "garbled":
        half = response.get_data()[: len(response.get_data()) // 2]
        response.set_data(half)
    return response


def control_blueprint(simulator: Simulator) -> Blueprint:
    plane = Blueprint("control", __name__, url_prefix="/_control")

    @plane.get("/health")
    def health() -> Response:
        return jsonify(status="ok")

    @plane.get("/config")
    def config() -> Response:
        return jsonify(asdict(simulator.outbox.settings))

    @plane.post("/config")
    def configure() -> Response:
        body = body_of_request()
        if unknown := sorted(set(body) - {f.name for f in fields(Settings)}):
            abort(400, f"unknown settings: {', '.join(unknown)}")
        if body.get("deliveries", "once") not in MODES:
            abort(400, f"deliveries is one of: {', '.join(MODES)}")
        with simulator.lock:
            for name, value in body.items():
                setattr(simulator.outbox.settings, name, value)
        return config()

    @plane.get("/events")
    def events() -> Response:
        last = request.args.get("last", default=0, type=int)
        return jsonify(events=[asdict(one) for one in simulator.outbox.emissions()[-last:]])

    @plane.post("/events/<event_id>/send")
    def send(event_id: str) -> Response:
        if not simulator.outbox.send(event_id):
            abort(404, f"no event {event_id}")
        return jsonify(queued=event_id)

    @plane.post("/flush")
    def flush() -> Response:
        return jsonify(flushed=simulator.outbox.flush(body_of_request().get("order", "emitted")))

    @plane.post("/faults")
    def faults() -> Response:
        body = body_of_request()
        if unknown := sorted(set(body) - {f.name for f in fields(Fault)}):
            abort(400, f"unknown fields: {', '.join(unknown)}")
        if body.get("kind") not in FAULT_KINDS:
            abort(400, f"kind is one of: {', '.join(FAULT_KINDS)}")
        with simulator.lock:
            simulator.faults.append(Fault(**body))
        return jsonify(faults=[asdict(fault) for fault in simulator.faults])

    @plane.post("/reset")
    def reset() -> Response:
        with simulator.lock:
            simulator.reset()
            simulator.faults.clear()
        simulator.outbox.reset()
        return jsonify(status="ok")

    refuse_as_json(plane)
    return plane


def refuse_as_json(plane: Blueprint) -> None:
    """What a control call got wrong is answered {"error": …}, for the reader of curl's output."""

    @plane.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", _size: int | str = "-") -> None:
        """One line per call without the query string: it may carry what a log must not."""
        path = self.path.partition("?")[0]
        self.log("info", "%s %s %s", self.command, path, code)


def serve(name: str, default_port: int, make_app: Callable[[], Flask]) -> None:
    """The command line of a simulator."""
    parser = argparse.ArgumentParser(prog=f"python -m local.simulators.{name}")
    parser.add_argument("--port", type=int, default=default_port)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    server = make_server(
        options.host, options.port, make_app(), threaded=True, request_handler=_Handler
    )
    print(f"{name} simulator on http://{options.host}:{options.port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
