"""OpenTelemetry traces of requests: who waited for what. Sent only where `--otlp` names a collector.

A span a request, named and attributed as the semantic conventions for HTTP and RPC have it, continuing the caller's
trace (W3C Trace Context); under it one span for the wait in the queue and one for the model's call, of each part of
the request. Attributes are names and numbers: no payload, no request id, no path that somebody typed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any

from primum.batching.request import Item
from primum.batching.watching import watching
from primum.errors import InputError, MissingExtra
from primum.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

Carrier = Mapping[str, str]
"""Headers or metadata of the caller."""


class Traced:
    """A request that is being traced."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def tell(self, **attributes: str | int | bool) -> None:
        """More of what is known of it."""
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

    def fail(self) -> None:
        """It ended in an error of the server."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR))


class Tracing:
    """Makes spans and has them sent in the background. `share`: of the traces that begin here, by chance; `worker`: its
    number among several.
    """

    def __init__(
        self, exporter: SpanExporter, share: float = 1.0, batched: bool = True, worker: int | None = None
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        which = {} if worker is None else {"service.instance.id": str(worker)}
        resource = Resource.create({"service.name": "primum", "service.version": VERSION, **which})
        self._provider = TracerProvider(ParentBasedTraceIdRatio(share), resource)
        self._provider.add_span_processor((BatchSpanProcessor if batched else SimpleSpanProcessor)(exporter))
        self._tracer = self._provider.get_tracer("primum.serving", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, name: str, carrier: Carrier, **attributes: str | int) -> Iterator[Traced]:
        """A request from its first byte to its answer, with the waits and calls of what it asks of batchers."""
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            name,
            # What else callers keep in their traces (tracestate) may name anybody, and would be sent on.
            context=self._propagator.extract({k: v for k, v in carrier.items() if k.lower() == "traceparent"}),
            kind=SpanKind.SERVER,
            attributes={key.replace("__", "."): value for key, value in attributes.items()},
        )
        with watching() as items:
            try:
                yield Traced(span)
            finally:
                if span.is_recording():
                    self._parts(span, items)
                span.end()

    def stop(self) -> None:
        """Send what waits."""
        self._provider.shutdown()

    def _parts(self, span: Any, items: Iterable[Item]) -> None:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(span)
        # The batcher's clock has another beginning than the calendar's.
        offset = time.time_ns() - int(time.monotonic() * 1e9)
        for item in items:
            started = item.started if isfinite(item.started) else item.finished
            marks = [int(mark * 1e9) + offset for mark in (item.enqueued, started, item.finished) if isfinite(mark)]
            if len(marks) < 3:
                continue
            told: dict[str, str | int] = {"primum.priority": item.priority.name.lower(), "primum.cases": item.cost}
            told["primum.outcome"] = "cancelled" if item.outcome is None else item.outcome.reason.value
            queue = self._tracer.start_span("queue", context, attributes=told, start_time=marks[0])
            queue.end(marks[1])
            if isfinite(item.started):
                call = self._tracer.start_span("compute", context, attributes=told, start_time=marks[1])
                call.set_attribute("primum.batch.size", item.together)
                call.end(marks[2])


def tracing_to(url: str, share: float = 1.0, worker: int | None = None) -> Tracing:
    """Traces to a collector that takes OTLP over HTTP, as http://127.0.0.1:4318/v1/traces.

    Raises MissingExtra, and InputError where `url` is none or `share` is no share.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingExtra("--otlp", "trace") from error
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--otlp {url}: give the address of a collector, as http://127.0.0.1:4318/v1/traces")
    if not 0 < share <= 1:
        raise InputError(f"--trace-share {share}: give a share above 0, at most 1")
    return Tracing(OTLPSpanExporter(endpoint=url), share, worker=worker)
