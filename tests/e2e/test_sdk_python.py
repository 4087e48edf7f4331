"""The OpenTelemetry Python SDK sends all three signals over gRPC and HTTP/protobuf; SQL returns them value by value."""

import base64

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics import export as metric_export
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, set_span_in_context
from grpc import Compression as GrpcCompression

import compare

RESOURCE = {
    "service.name": "checkout",
    "service.version": "1.2.3",
    "service.instance.id": "checkout-7",
    "host.cpus": 8,
    "host.load": 0.25,
    "k8s.ready": True,
    "deployment.environment.name": "prüfung",
}
TRANSPORTS = ["grpc", "grpc-gzip", "http", "http-gzip"]


@pytest.fixture(params=TRANSPORTS)
def exporters(request, server, tenant):
    """The exporters (traces, metrics, logs) of one transport."""
    headers = {"x-scope-orgid": tenant}
    gzip = request.param.endswith("gzip")
    if request.param.startswith("grpc"):
        settings = {"endpoint": server.grpc_target, "insecure": True, "headers": headers, "timeout": 30}
        settings["compression"] = GrpcCompression.Gzip if gzip else GrpcCompression.NoCompression
        return (
            lambda: grpc_traces.OTLPSpanExporter(**settings),
            lambda: grpc_metrics.OTLPMetricExporter(**settings),
            lambda: grpc_logs.OTLPLogExporter(**settings),
        )
    settings = {"headers": headers, "timeout": 30, "compression": HttpCompression.Gzip if gzip else HttpCompression.NoCompression}
    return (
        lambda: http_traces.OTLPSpanExporter(endpoint=f"{server.otlp_url}/v1/traces", **settings),
        lambda: http_metrics.OTLPMetricExporter(endpoint=f"{server.otlp_url}/v1/metrics", **settings),
        lambda: http_logs.OTLPLogExporter(endpoint=f"{server.otlp_url}/v1/logs", **settings),
    )


def plain(value):
    """An attribute value as the comparison describes it."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    return value


def scope_of(scope):
    return {
        "scope_name": scope.name,
        "scope_version": scope.version,
        "scope_attributes": plain(scope.attributes or {}),
    }


def span_id(value):
    return f"{value:016x}"


def trace_id(value):
    return f"{value:032x}"


def sent_span(span):
    return {
        "trace_id": trace_id(span.context.trace_id),
        "span_id": span_id(span.context.span_id),
        "parent_span_id": span_id(span.parent.span_id) if span.parent else None,
        "trace_state": span.context.trace_state.to_header(),
        "name": span.name,
        "kind": span.kind.name.lower(),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status_code": span.status.status_code.name.lower(),
        "status_message": span.status.description,
        "attributes": plain(span.attributes),
        "events": [{"name": e.name, "time_ns": e.timestamp, "attributes": plain(e.attributes)} for e in span.events],
        "links": [
            {
                "trace_id": trace_id(link.context.trace_id),
                "span_id": span_id(link.context.span_id),
                "trace_state": "",  # the Python exporter does not send a link's; the JavaScript one does
                "attributes": plain(link.attributes),
            }
            for link in span.links
        ],
        "dropped_attributes_count": span.dropped_attributes,
        "dropped_events_count": span.dropped_events,
        "dropped_links_count": span.dropped_links,
        "resource": dict(span.resource.attributes),
        **scope_of(span.instrumentation_scope),
    }


def make_spans(tracer):
    far = SpanContext(
        0x0102030405060708090A0B0C0D0E0F10, 0x1112131415161718, True, TraceFlags(1), TraceState([("vendor", "t61rcWkgMzE")])
    )
    with tracer.start_as_current_span(
        "GET /cart/{id}",
        kind=SpanKind.SERVER,
        links=[Link(far, {"why": "retry", "attempt": 2, "deep": ["a", "b"]})],
        attributes={
            "text": "plain",
            "text.empty": "",
            "text.unicode": "naïve – 購物車 🛒",
            "http.response.status_code": 200,
            "int.min": -(2**63),
            "int.max": 2**63 - 1,
            "int.zero": 0,
            "ratio": 0.1,
            "ratio.tiny": 5e-324,
            "ratio.huge": -1.7976931348623157e308,
            "yes": True,
            "no": False,
            "list.text": ["a", "", "ü"],
            "list.int": [1, -2, 2**53 + 1],
            "list.double": [0.5, 1e300],
            "list.bool": [True, False],
            "list.empty": [],
        },
    ) as root:
        root.add_event("cache miss", {"key": "cart:17", "bytes": 12, "ratio": 0.5, "hit": False, "tags": ["x", "y"]})
        root.add_event("bare")
        for number, kind in enumerate([SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL]):
            with tracer.start_as_current_span(f"step {number}", kind=kind) as child:
                child.set_attribute("step", number)
                if kind == SpanKind.CLIENT:
                    child.set_status(Status(StatusCode.ERROR, "connection reset"))
                    child.record_exception(ValueError("connection reset"))
                elif kind == SpanKind.PRODUCER:
                    child.set_status(Status(StatusCode.OK))
    parent = set_span_in_context(tracer.start_span("outside"))
    with tracer.start_as_current_span("", context=parent):
        pass


@pytest.mark.parametrize("processor", [SimpleSpanProcessor, BatchSpanProcessor], ids=["simple", "batch"])
def test_traces(exporters, server, tenant, processor):
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource(RESOURCE))
    provider.add_span_processor(processor(exporters[0]()))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    make_spans(provider.get_tracer("shop.cart", "0.9", attributes={"scope.team": "cart", "scope.level": 3}))
    make_spans(provider.get_tracer("shop.other", "1.0"))
    assert provider.force_flush()
    compare.spans(server, tenant, [sent_span(span) for span in memory.get_finished_spans()])
    provider.shutdown()


def sent_record(log):
    record = log.log_record
    return {
        "time_ns": record.timestamp,
        "observed_ns": record.observed_timestamp,
        "severity_number": record.severity_number.value,
        "severity_text": record.severity_text,
        "body": plain(record.body),
        "event_name": record.event_name,
        "trace_id": trace_id(record.trace_id) if record.trace_id else None,
        "span_id": span_id(record.span_id) if record.span_id else None,
        "attributes": plain(record.attributes or {}),
        "resource": dict(log.resource.attributes),
        **scope_of(log.instrumentation_scope),
    }


def test_logs(exporters, server, tenant):
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=Resource(RESOURCE))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporters[2]()))
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("shop.log", "2.0", attributes={"scope.kind": "bridge"})
    tracer = TracerProvider().get_tracer("t")
    bodies = [
        "order 4711 placed",
        "line one\nline two\ttab \"quoted\" \\ back",
        "ünïcödé 注文 🧾",
        {"order": 4711, "items": [{"sku": "a-1", "n": 2}, {"sku": "b-2", "n": 1}], "paid": True, "total": 19.99},
        ["a", 1, 2.5, False],
        17,
        2.5,
        True,
    ]
    start = 1_700_000_000_123_456_789
    for number, body in enumerate(bodies):
        with tracer.start_as_current_span("context") as span:
            logger.emit(
                LogRecord(
                    timestamp=start + number,
                    observed_timestamp=start + 1000 + number,
                    context=set_span_in_context(span) if number % 2 == 0 else None,
                    severity_number=[SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR4, SeverityNumber.TRACE][number % 4],
                    severity_text=["INFO", "WARN", "ERROR", "TRACE"][number % 4],
                    body=body,
                    event_name="order.placed" if number == 0 else None,
                    attributes={
                        "order.id": 4700 + number,
                        "customer": f"c-{number}",
                        "vip": number % 2 == 0,
                        "total": number * 1.25,
                        "tags": ["x", str(number)],
                        "raw": b"\x00\xff\x10",
                        "nested": {"a": {"b": [1, 2, {"c": "d"}]}},
                    },
                )
            )
    assert provider.force_flush()
    compare.logs(server, tenant, [sent_record(log) for log in memory.get_finished_logs()])
    provider.shutdown()


class Tee(metric_export.MetricExporter):
    """Passes metrics on and remembers them."""

    def __init__(self, exporter):
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self.exporter = exporter
        self.seen = []

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):
        self.seen.append(metrics_data)
        return self.exporter.export(metrics_data, timeout_millis, **kwargs)

    def force_flush(self, timeout_millis=10_000):
        return self.exporter.force_flush(timeout_millis)

    def shutdown(self, timeout_millis=30_000, **kwargs):
        self.exporter.shutdown(timeout_millis, **kwargs)


def sent_points(metrics_data):
    """Number points, histogram points and exemplars of an export."""
    numbers, histograms, exemplars = [], [], []
    for resource_metrics in metrics_data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                data = metric.data
                temporality = getattr(data, "aggregation_temporality", None)
                for point in data.data_points:
                    common = {
                        "name": metric.name,
                        "unit": metric.unit or "",
                        "temporality": temporality.name.lower() if temporality else None,
                        "time_ns": point.time_unix_nano,
                        "start_ns": point.start_time_unix_nano,
                        "attributes": plain(point.attributes),
                        "resource": dict(resource_metrics.resource.attributes),
                    }
                    for exemplar in point.exemplars:
                        exemplars.append(
                            {
                                "name": metric.name,
                                "time_ns": exemplar.time_unix_nano,
                                "value": exemplar.value,
                                "trace_id": trace_id(exemplar.trace_id) if exemplar.trace_id else None,
                                "span_id": span_id(exemplar.span_id) if exemplar.span_id else None,
                                "attributes": plain(exemplar.filtered_attributes or {}),
                            }
                        )
                    if isinstance(data, metric_export.Sum):
                        numbers.append(common | {"type": "sum", "monotonic": data.is_monotonic, "value": point.value})
                    elif isinstance(data, metric_export.Gauge):
                        numbers.append(common | {"type": "gauge", "monotonic": None, "value": point.value})
                    else:
                        shape = {"count": point.count, "sum": point.sum, "min": point.min, "max": point.max}
                        if isinstance(data, metric_export.Histogram):
                            shape |= {"type": "histogram", "bounds": list(point.explicit_bounds), "bucket_counts": list(point.bucket_counts)}
                        else:
                            shape |= {
                                "type": "exponential_histogram",
                                "scale": point.scale,
                                "zero_count": point.zero_count,
                                "positive_offset": point.positive.offset,
                                "positive_counts": list(point.positive.bucket_counts),
                                "negative_offset": point.negative.offset,
                                "negative_counts": list(point.negative.bucket_counts),
                            }
                        histograms.append(common | shape)
    for point in numbers:
        point["is_int"] = isinstance(point["value"], int)
    return numbers, histograms, exemplars


def test_metrics(exporters, server, tenant):
    tee = Tee(exporters[1]())
    reader = metric_export.PeriodicExportingMetricReader(tee, export_interval_millis=3_600_000)
    provider = MeterProvider(
        metric_readers=[reader],
        resource=Resource(RESOURCE),
        exemplar_filter=AlwaysOnExemplarFilter(),
        views=[View(instrument_name="shop.latency.exp", aggregation=ExponentialBucketHistogramAggregation())],
    )
    meter = provider.get_meter("shop.meter", "3.1")
    requests = meter.create_counter("shop.requests", unit="{request}", description="requests served")
    volume = meter.create_counter("shop.volume", unit="By")
    open_carts = meter.create_up_down_counter("shop.carts.open", unit="{cart}")
    temperature = meter.create_gauge("shop.temperature", unit="Cel")
    workers = meter.create_gauge("shop.workers")
    latency = meter.create_histogram("shop.latency", unit="ms")
    precise = meter.create_histogram("shop.latency.exp", unit="s")
    tracer = TracerProvider().get_tracer("t")
    with tracer.start_as_current_span("measured"):
        for number in range(40):
            who = {"route": f"/r{number % 3}", "code": 200 + number % 2, "cached": number % 2 == 0, "weight": 0.5}
            requests.add(number, who)
            volume.add(number * 0.1, who)
            open_carts.add(-1 if number % 4 == 0 else 3, {"route": who["route"]})
            latency.record(number * 7.5, {"route": who["route"]})
            precise.record(number * 0.003, {"route": who["route"]})
    precise.record(0, {"route": "/r0"})
    temperature.set(-40.125, {"room": "cold"})
    temperature.set(1e-9, {"room": "lab"})
    workers.set(2**62, {"pool": "a"})
    workers.set(-7, {"pool": "b"})
    requests.add(5)
    assert provider.force_flush()
    (data,) = tee.seen
    numbers, histograms, exemplars = sent_points(data)
    assert len(numbers) > 10 and len(histograms) == 6 and exemplars
    compare.numbers(server, tenant, numbers)
    compare.histograms(server, tenant, histograms)
    compare.exemplars(server, tenant, exemplars)
    provider.shutdown()
