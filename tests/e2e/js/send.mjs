// Sends traces, metrics and logs with the OpenTelemetry JavaScript SDK and prints what it sent, as compare.py describes it.
//
//   node send.mjs json|proto BASE_URL TENANT
import { SpanKind, SpanStatusCode, TraceFlags, context, createTraceState, trace } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationTemporality, AggregationType, DataPointType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';

const [encoding, base, tenant] = process.argv.slice(2);
const kind = encoding === 'json' ? 'http' : 'proto';
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${kind}`);
const { OTLPMetricExporter } = await import(`@opentelemetry/exporter-metrics-otlp-${kind}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${kind}`);

const options = (signal) => ({ url: `${base}/v1/${signal}`, headers: { 'x-scope-orgid': tenant } });
const attributesOfResource = { 'service.name': 'web', 'service.version': '4.5.6', 'browser.mobile': false, 'host.cpus': 4, 'host.load': 0.75 };
const resource = resourceFromAttributes(attributesOfResource);

// Nanoseconds do not fit a double: BigInt in, a bare JSON number out.
const ns = ([seconds, nanos]) => `@${BigInt(seconds) * 1_000_000_000n + BigInt(nanos)}@`;
const print = (value) => console.log(JSON.stringify(value).replace(/"@(\d+)@"/g, '$1'));

// Resolves when the exporter was told the server's answer; an answer that is not a success ends the program.
function acknowledged(exporter) {
  const original = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    original(items, (result) => {
      if (result.code !== 0) {
        console.error('export failed', result.error);
        process.exitCode = 1;
      }
      done(result);
    });
  return exporter;
}

function sentSpan(span) {
  return {
    trace_id: span.spanContext().traceId,
    span_id: span.spanContext().spanId,
    parent_span_id: span.parentSpanContext?.spanId ?? null,
    trace_state: span.spanContext().traceState?.serialize() ?? '',
    name: span.name,
    kind: SpanKind[span.kind].toLowerCase(),
    start_ns: ns(span.startTime),
    end_ns: ns(span.endTime),
    status_code: SpanStatusCode[span.status.code].toLowerCase(),
    status_message: span.status.message ?? '',
    attributes: span.attributes,
    events: span.events.map((e) => ({ name: e.name, time_ns: ns(e.time), attributes: e.attributes ?? {} })),
    links: span.links.map((l) => ({
      trace_id: l.context.traceId,
      span_id: l.context.spanId,
      trace_state: l.context.traceState?.serialize() ?? '',
      attributes: l.attributes ?? {},
    })),
    dropped_attributes_count: span.droppedAttributesCount,
    dropped_events_count: span.droppedEventsCount,
    dropped_links_count: span.droppedLinksCount,
    resource: attributesOfResource,
    scope_name: span.instrumentationScope.name,
    scope_version: span.instrumentationScope.version ?? '',
    scope_attributes: {},
  };
}

async function traces() {
  const memory = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({
    resource,
    spanProcessors: [new SimpleSpanProcessor(acknowledged(new OTLPTraceExporter(options('traces')))), new SimpleSpanProcessor(memory)],
  });
  const tracer = provider.getTracer('web.page', '7.0');
  const far = {
    traceId: '0102030405060708090a0b0c0d0e0f10',
    spanId: '1112131415161718',
    traceFlags: TraceFlags.SAMPLED,
    traceState: createTraceState('vendor=abc'),
  };
  const root = tracer.startSpan('load page', {
    kind: SpanKind.CLIENT,
    links: [{ context: far, attributes: { why: 'prefetch', attempt: 2 } }],
    attributes: {
      text: 'plain',
      'text.empty': '',
      'text.unicode': 'naïve – 購物車 🛒',
      'http.response.status_code': 200,
      'int.negative': -17,
      'int.safe.max': Number.MAX_SAFE_INTEGER,
      ratio: 0.1,
      'ratio.tiny': 5e-324,
      yes: true,
      no: false,
      'list.text': ['a', '', 'ü'],
      'list.int': [1, -2, 3],
      'list.double': [0.5, 1.25],
      'list.bool': [true, false],
      'list.empty': [],
    },
  });
  root.addEvent('cache miss', { key: 'cart:17', bytes: 12, ratio: 0.5, hit: false, tags: ['x', 'y'] });
  root.addEvent('bare');
  const inside = trace.setSpan(context.active(), root);
  [SpanKind.SERVER, SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.INTERNAL].forEach((spanKind, number) => {
    const child = tracer.startSpan(`step ${number}`, { kind: spanKind, attributes: { step: number } }, inside);
    if (spanKind === SpanKind.SERVER) {
      child.setStatus({ code: SpanStatusCode.ERROR, message: 'connection reset' });
      child.addEvent('exception', { 'exception.type': 'Error', 'exception.message': 'connection reset' });
    }
    if (spanKind === SpanKind.PRODUCER) child.setStatus({ code: SpanStatusCode.OK });
    child.end();
  });
  root.end();
  await provider.forceFlush();
  const sent = memory.getFinishedSpans().map(sentSpan);
  await provider.shutdown();
  return sent;
}

async function logs() {
  const memory = new InMemoryLogRecordExporter();
  const provider = new LoggerProvider({
    resource,
    processors: [
      new SimpleLogRecordProcessor({ exporter: acknowledged(new OTLPLogExporter(options('logs'))) }),
      new SimpleLogRecordProcessor({ exporter: memory }),
    ],
  });
  const logger = provider.getLogger('web.log', '2.0');
  const bodies = ['order 4711 placed', 'ünïcödé 注文 🧾\nsecond line', { order: 4711, paid: true, items: [{ sku: 'a-1', n: 2 }] }, ['a', 1, 2.5, false], 17, 2.5, true];
  bodies.forEach((body, number) => {
    logger.emit({
      timestamp: [1_700_000_000, 123_456_000 + number],
      observedTimestamp: [1_700_000_001, 1000 + number],
      severityNumber: [SeverityNumber.INFO, SeverityNumber.WARN, SeverityNumber.ERROR4][number % 3],
      severityText: ['INFO', 'WARN', 'ERROR'][number % 3],
      eventName: number === 0 ? 'order.placed' : undefined,
      body,
      attributes: { 'order.id': 4700 + number, customer: `c-${number}`, vip: number % 2 === 0, total: number + 0.25, tags: ['x', String(number)], nested: { a: { b: [1, 2, { c: 'd' }] } } },
    });
  });
  await provider.forceFlush();
  const sent = memory.getFinishedLogRecords().map((record) => ({
    time_ns: ns(record.hrTime),
    observed_ns: ns(record.hrTimeObserved),
    severity_number: record.severityNumber,
    severity_text: record.severityText,
    body: record.body,
    event_name: record.eventName ?? '',
    trace_id: record.spanContext?.traceId ?? null,
    span_id: record.spanContext?.spanId ?? null,
    attributes: record.attributes,
    resource: attributesOfResource,
    scope_name: record.instrumentationScope.name,
    scope_version: record.instrumentationScope.version ?? '',
    scope_attributes: {},
  }));
  await provider.shutdown();
  return sent;
}

async function metrics() {
  const exporter = acknowledged(new OTLPMetricExporter(options('metrics')));
  const seen = [];
  const inner = exporter.export;
  exporter.export = (data, done) => {
    seen.push(data);
    inner(data, done);
  };
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
  const provider = new MeterProvider({
    resource,
    readers: [reader],
    views: [{ instrumentName: 'web.latency.exp', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
  });
  const meter = provider.getMeter('web.meter', '3.1');
  const requests = meter.createCounter('web.requests', { unit: '{request}', description: 'requests served' });
  const volume = meter.createCounter('web.volume', { unit: 'By' });
  const open = meter.createUpDownCounter('web.open');
  const temperature = meter.createGauge('web.temperature', { unit: 'Cel' });
  const latency = meter.createHistogram('web.latency', { unit: 'ms' });
  const precise = meter.createHistogram('web.latency.exp', { unit: 's' });
  for (let number = 0; number < 40; number++) {
    const who = { route: `/r${number % 3}`, code: 200 + (number % 2), cached: number % 2 === 0 };
    requests.add(number, who);
    volume.add(number * 0.1 + 0.05, who);
    open.add(number % 4 === 0 ? -1 : 3, { route: who.route });
    latency.record(number * 7.5, { route: who.route });
    precise.record(number * 0.003, { route: who.route });
  }
  temperature.record(-40.125, { room: 'cold' });
  temperature.record(1e-9, { room: 'lab' });
  await provider.shutdown(); // exports once; a flush before it would export twice
  const numbers = [];
  const histograms = [];
  for (const scope of seen[0].scopeMetrics) {
    for (const metric of scope.metrics) {
      for (const point of metric.dataPoints) {
        const isSum = metric.dataPointType === DataPointType.SUM;
        const common = {
          name: metric.descriptor.name,
          unit: metric.descriptor.unit,
          temporality: metric.dataPointType === DataPointType.GAUGE ? null : AggregationTemporality[metric.aggregationTemporality].toLowerCase(),
          time_ns: ns(point.endTime),
          start_ns: ns(point.startTime),
          attributes: point.attributes,
          resource: attributesOfResource,
        };
        const value = point.value;
        if (isSum || metric.dataPointType === DataPointType.GAUGE) {
          // The exporter sends an instrument's points as doubles unless it was declared as an integer one.
          numbers.push({ ...common, type: isSum ? 'sum' : 'gauge', monotonic: isSum ? metric.isMonotonic : null, value, is_int: false });
        } else {
          const shape = { count: value.count, sum: value.sum, min: value.min, max: value.max };
          if (metric.dataPointType === DataPointType.HISTOGRAM) {
            histograms.push({ ...common, ...shape, type: 'histogram', bounds: value.buckets.boundaries, bucket_counts: value.buckets.counts });
          } else {
            histograms.push({
              ...common,
              ...shape,
              type: 'exponential_histogram',
              scale: value.scale,
              zero_count: value.zeroCount,
              positive_offset: value.positive.offset,
              positive_counts: value.positive.bucketCounts,
              negative_offset: value.negative.offset,
              negative_counts: value.negative.bucketCounts,
            });
          }
        }
      }
    }
  }
  return { numbers, histograms };
}

print({ spans: await traces(), logs: await logs(), ...(await metrics()) });
