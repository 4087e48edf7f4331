"""Proxies between an SDK and servers that lose acknowledgements: the server has handled the request, the sender does not hear of it.

The attempts of one payload (its decompressed bytes) go to the given servers in turn, so that a retry reaches the same process
or another one. The first answers of each payload are lost, whatever they are.
"""

import gzip
import hashlib
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import requests


class Attempts:
    """What was sent how often, and what the servers answered: {(path, hash of the payload): [(server, answer), ...]}."""

    def __init__(self, servers, lost):
        self.servers = servers
        self.lost = lost
        self.seen = defaultdict(list)
        self.lock = threading.Lock()

    def handle(self, path, payload, send):
        """Forwards one attempt with `send(server)`, which returns (answer, response); the response, or None if it is lost."""
        key = (path, hashlib.sha256(payload).hexdigest())
        with self.lock:
            number = len(self.seen[key])
            self.seen[key].append(None)
        server = self.servers[number % len(self.servers)]
        answer, response = send(server)
        self.seen[key][number] = (self.servers.index(server), answer)
        return response if number >= self.lost else None


class LossyHttp(Attempts):
    """OTLP/HTTP. A lost answer is a connection that ends (`cut`) or a gateway's 504."""

    def __init__(self, servers, lost=1, how="cut"):
        super().__init__(servers, lost)
        attempts = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b"".join(iter(self.chunk, b""))
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                payload = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                names = ("Content-Type", "Content-Encoding", "X-Scope-OrgID")
                headers = {name: self.headers[name] for name in names if self.headers[name]}

                def send(server):
                    answer = requests.post(f"{server.otlp_url}{self.path}", data=body, headers=headers, timeout=60)
                    return answer.status_code, answer

                answer = attempts.handle(self.path, payload, send)
                if answer is None and how == "cut":
                    self.close_connection = True
                    return
                self.send_response(504 if answer is None else answer.status_code)
                content = b"" if answer is None else answer.content
                self.send_header("Content-Type", "text/plain" if answer is None else answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def chunk(self):
                data = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return data

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.otlp_url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class LossyGrpc(Attempts, grpc.GenericRpcHandler):
    """OTLP/gRPC. A lost answer is UNAVAILABLE, which is what a client sees when a connection or a proxy's upstream breaks."""

    def __init__(self, servers, lost=1):
        super().__init__(servers, lost)
        self.channels = {id(server): server.new_channel() for server in servers}
        self.server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        self.grpc_target = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, call):
        metadata = [(key, value) for key, value in call.invocation_metadata if key == "x-scope-orgid"]

        def export(request, context):
            def send(server):
                forward = self.channels[id(server)].unary_unary(call.method, request_serializer=bytes, response_deserializer=bytes)
                return "ok", forward(request, metadata=metadata, timeout=60)

            response = self.handle(call.method, request, send)
            if response is None:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
            return response

        return grpc.unary_unary_rpc_method_handler(export)

    def stop(self):
        self.server.stop(None).wait()
        for channel in self.channels.values():
            channel.close()
