"""OTLP messages by hand, and how to send them over each transport."""

import os
import time

import grpc
import requests
from google.rpc import status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
REQUEST = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
}
RESPONSE = {
    "traces": trace_service_pb2.ExportTraceServiceResponse,
    "logs": logs_service_pb2.ExportLogsServiceResponse,
    "metrics": metrics_service_pb2.ExportMetricsServiceResponse,
}
STUB = {
    "traces": trace_service_pb2_grpc.TraceServiceStub,
    "logs": logs_service_pb2_grpc.LogsServiceStub,
    "metrics": metrics_service_pb2_grpc.MetricsServiceStub,
}
METHOD = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}
SIGNALS = list(REQUEST)


def now():
    return time.time_ns()


def any_value(value):
    if isinstance(value, AnyValue):
        return value
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, (list, tuple)):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(kvlist_value=KeyValueList(values=attributes(value)))


def attributes(pairs):
    return [KeyValue(key=key, value=any_value(value)) for key, value in pairs.items()]


def resource(pairs=None):
    return Resource(attributes=attributes({"service.name": "e2e"} | (pairs or {})))


def span(name="work", attrs=None, **fields):
    start = fields.pop("start_time_unix_nano", now())
    defaults = {
        "trace_id": os.urandom(16),
        "span_id": os.urandom(8),
        "start_time_unix_nano": start,
        "end_time_unix_nano": (start + 1_000_000) % 2**64,
        "kind": Span.SPAN_KIND_SERVER,
    }
    return Span(name=name, attributes=attributes(attrs or {}), **(defaults | fields))


def record(body="hello", attrs=None, **fields):
    defaults = {"time_unix_nano": now(), "observed_time_unix_nano": now(), "severity_number": 9, "severity_text": "INFO"}
    return LogRecord(body=any_value(body), attributes=attributes(attrs or {}), **(defaults | fields))


def gauge(name="temperature", value=1.5, attrs=None, **fields):
    key = "as_int" if isinstance(value, int) else "as_double"
    point = NumberDataPoint(attributes=attributes(attrs or {}), **({"time_unix_nano": now(), key: value} | fields))
    return Metric(name=name, unit="1", gauge=Gauge(data_points=[point]))


def request(signal, items, resource_attrs=None):
    """An export request with one resource and one scope around the items."""
    message = REQUEST[signal]()
    outer = {"traces": "resource_spans", "logs": "resource_logs", "metrics": "resource_metrics"}[signal]
    inner = {"traces": "scope_spans", "logs": "scope_logs", "metrics": "scope_metrics"}[signal]
    leaf = {"traces": "spans", "logs": "log_records", "metrics": "metrics"}[signal]
    group = getattr(message, outer).add(resource=resource(resource_attrs))
    scope = getattr(group, inner).add(scope=InstrumentationScope(name="e2e", version="1"))
    getattr(scope, leaf).extend(items)
    return message


def post(server, signal, body, content_type=PROTOBUF, tenant="default", headers=None, session=None, timeout=60):
    """One OTLP/HTTP request with the bytes as they are."""
    return (session or requests).post(
        f"{server.otlp_url}/v1/{signal}",
        data=body,
        headers={"Content-Type": content_type, "X-Scope-OrgID": tenant} | (headers or {}),
        timeout=timeout,
    )


def send_http(server, signal, message, tenant="default", session=None):
    """Sends a message over HTTP/protobuf; returns the response message of a 200."""
    answer = post(server, signal, message.SerializeToString(), tenant=tenant, session=session)
    assert answer.status_code == 200, f"{answer.status_code}: {http_status(answer)}"
    assert answer.headers["Content-Type"] == PROTOBUF
    return RESPONSE[signal].FromString(answer.content)


def send_grpc(server, signal, message, tenant="default", channel=None, timeout=60, compression=None):
    """Sends a message over gRPC; returns the response message."""
    stub = STUB[signal](channel or server.channel())
    return stub.Export(message, metadata=[("x-scope-orgid", tenant)], timeout=timeout, compression=compression)


def send_grpc_bytes(server, signal, body, tenant="default", method=None, timeout=60):
    """Sends bytes as a gRPC message, valid or not."""
    call = server.channel().unary_unary(
        method or METHOD[signal], request_serializer=bytes, response_deserializer=RESPONSE[signal].FromString
    )
    return call(body, metadata=[("x-scope-orgid", tenant)], timeout=timeout)


SENDERS = {"http": send_http, "grpc": send_grpc}


def http_status(answer):
    """The google.rpc.Status in an HTTP error, in the encoding that the answer names."""
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith(JSON):
        body = answer.json()
        return status_pb2.Status(code=body.get("code", 0), message=body.get("message", ""))
    if kind.startswith(PROTOBUF):
        return status_pb2.Status.FromString(answer.content)
    return status_pb2.Status(message=answer.text)


def grpc_status(error):
    """The google.rpc.Status behind a gRPC error, or None."""
    assert isinstance(error, grpc.RpcError)
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return None


def rejected(signal, response):
    """Rejected count and reason of a response's partial success."""
    field = {"traces": "rejected_spans", "logs": "rejected_log_records", "metrics": "rejected_data_points"}[signal]
    return getattr(response.partial_success, field), response.partial_success.error_message


def to_ns(text):
    """Unix nanoseconds of an RFC 3339 time with up to nine digits of a second, as SQL answers print it."""
    import calendar

    text = text.removesuffix("Z").removesuffix("+00:00")
    whole, _, fraction = text.partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 1_000_000_000 + int((fraction + "000000000")[:9])


def columns(keys, prefix="attr."):
    """A SELECT list of attribute columns that keep their physical names."""
    return ", ".join(f'"{prefix}{key}"' for key in keys)
