"""Clients: they send, repeat the same bytes until somebody acks them, and read what was acked."""

import random
import threading
import time

import grpc
import requests

import wire
from torture.items import Maker, SIGNALS, some
from torture.ledger import ACKED, GIVEN_UP, Request

# Short, so that a server that hangs costs little of the run; what is repeated after it may well have been stored.
TIMEOUT_SECONDS = 3
# Between two attempts of one request. Real exporters wait longer; a short pause finds more and measures outages exactly.
PAUSE_SECONDS = (0.01, 0.05)
# The answers after which the specification lets a sender repeat (OTLP 1.x, "Failures"). Others make exporters drop data.
RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {
    grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED, grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.RESOURCE_EXHAUSTED,
}
# What gRPC itself says of a connection that broke in the middle; the server said nothing.
BROKEN = ("RST_STREAM", "Stream removed", "Socket closed", "Connection reset", "recvmsg", "GOAWAY", "EOF", "trailing metadata")


class Client(threading.Thread):
    """Sends one request after the other to processes of the topology."""

    timeout = TIMEOUT_SECONDS

    def __init__(self, run, number, transport):
        super().__init__(name=f"{transport}-{number}", daemon=True)
        self.run_state, self.transport = run, transport
        self.rng = random.Random(f"{run.seed}/{run.topology.name}/client/{number}")
        self.maker = Maker(random.Random(self.rng.random()), self.name)
        self.session = requests.Session()
        self.channels = {}
        self.error = None

    def run(self):
        run = self.run_state
        try:
            while not run.ending.is_set():
                signal = self.rng.choice(SIGNALS)
                window, request = run.ledger.enter(lambda number, tenant: self._request(number, tenant, signal))
                acked = self._send(request)
                window.end(request, ACKED if acked else GIVEN_UP)
                if acked and self.rng.random() < run.read_share:
                    self._read_back(window, request)
                run.ending.wait(self.rng.uniform(0, 2 * run.pause))
        except BaseException as error:  # shown in the report: a client that is gone proves nothing
            self.error = repr(error)
            raise

    def _request(self, number, tenant, signal):
        before = self.maker.tick()
        body, ids, trace = self.maker.make(signal)
        return Request(number, self.name, signal, tenant, body, ids, (before, self.maker.tick()), trace)

    def _send(self, request):
        """Until it is acked; false when the run ended long ago."""
        run = self.run_state
        node = None
        while not run.given_up.is_set():
            receivers = run.topology.receivers()
            if node not in receivers or (request.sent_to and self.rng.random() < 0.5):
                node = self.rng.choice(receivers)
            request.sent_to.append(node.name)
            try:
                outcome = (self._grpc if self.transport == "grpc" else self._http)(node, request)
            except ValueError:
                # The channel was closed under a removed process.
                outcome = "channel closed"
            if outcome is True:
                request.acked_at = run.elapsed()
                run.availability.acked()
                return True
            run.count_refusal(outcome)
            time.sleep(self.rng.uniform(*PAUSE_SECONDS))
        return False

    def _grpc(self, node, request):
        call = self._channel(node).unary_unary(
            wire.METHOD[request.signal], request_serializer=bytes, response_deserializer=wire.RESPONSE[request.signal].FromString
        )
        try:
            response = call(request.body, metadata=[("x-scope-orgid", request.tenant)], timeout=self.timeout)
        except grpc.RpcError as error:
            code, text = error.code(), error.details() or ""
            if code not in RETRYABLE_GRPC and not any(word in text for word in BROKEN):
                self.run_state.refused(request, node, f"gRPC {code.name}: {text}")
            return f"gRPC {code.name}"
        return self._accepted(request, node, response)

    def _http(self, node, request):
        headers = {"Content-Type": wire.PROTOBUF, "X-Scope-OrgID": request.tenant}
        url = f"http://127.0.0.1:{node.front_http.port}/v1/{request.signal}"
        try:
            answer = self.session.post(url, data=request.body, headers=headers, timeout=self.timeout)
        except requests.RequestException as error:
            return f"HTTP {type(error).__name__}"
        if answer.status_code != 200:
            if answer.status_code not in RETRYABLE_HTTP:
                self.run_state.refused(request, node, f"HTTP {answer.status_code}: {wire.http_status(answer).message}")
            return f"HTTP {answer.status_code}"
        return self._accepted(request, node, wire.RESPONSE[request.signal].FromString(answer.content))

    def _accepted(self, request, node, response):
        count, reason = wire.rejected(request.signal, response)
        if count:
            self.run_state.refused(request, node, f"{count} valid items rejected: {reason}")
        return True

    def _channel(self, node):
        # A process that is started again keeps its name and its proxy.
        if node.name not in self.channels:
            options = {
                "grpc.initial_reconnect_backoff_ms": 20, "grpc.min_reconnect_backoff_ms": 20,
                "grpc.max_reconnect_backoff_ms": 50, "grpc.use_local_subchannel_pool": 1,
            }
            target = f"127.0.0.1:{node.front_grpc.port}"
            self.channels[node.name] = grpc.insecure_channel(target, options=list(options.items()))
        return self.channels[node.name]

    def _read_back(self, window, request):
        """An ack means visible at once, in every process."""
        run = self.run_state
        readers = run.topology.readers()
        if not readers:
            return
        node = self.rng.choice(readers)
        for table, ids in request.ids.items():
            times = request.times if self.rng.random() < 0.5 else None
            rows = run.checker.ask(node, some(table, ids, times), request.tenant)
            if rows is not None:
                run.checker.read_back(node, window, table, ids, rows)
        if request.trace and self.rng.random() < 0.5:
            run.checker.trace(node, window, request)
