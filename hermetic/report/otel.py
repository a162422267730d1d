"""The spans of a command to a collector of traces, by OpenTelemetry's protocol over HTTP.

Guarantees: a collector that cannot be reached or does not answer costs no more than ``PATIENCE`` seconds, at the end
of the command, and never its success; what goes there is what ``hermetic.spans`` allows: no message, no value
of the environment, no path of this machine. OpenTelemetry's own variables say where to, under which name and
below which parent; its SDK is the extra ``hb[otel]`` and imported here only.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hermetic
from hermetic.report.timeline import ACTION, Timeline
from hermetic.spans import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

CONNECT = 1.0  # seconds to be connected
PATIENCE = 5.0  # seconds for everything
BATCH = 512  # spans of one request
SHORT = 0.001  # seconds: what is shorter and no action is left out
MOST = 5000  # spans of one command: more would not be sent in time on a busy machine
BAD = frozenset({"failed", "timeout", "oom"})
SERVICE = "hb"


def export(timeline: Timeline, environment: Mapping[str, str]) -> str:
    """Send the spans. Returns what a person should know, "" when they are there."""
    protocol = _first(environment, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in ("", "http/protobuf"):
        return f"the trace was not sent: hb speaks http/protobuf, not {protocol}\n  → set OTEL_EXPORTER_OTLP_PROTOCOL"
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what there is to say is said here, once
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        spans, send = _made(timeline, environment), _sender(environment)
        threading.Thread(target=lambda: ended.put(send(spans)), name="otel", daemon=True).start()
        return ended.get(timeout=PATIENCE)
    except queue.Empty:
        return f"the trace was not sent: {_where(environment)} did not answer in {PATIENCE:.0f} s"
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("opentelemetry", "requests")):
            raise
        lock = Path(hermetic.__file__).parents[1] / "locks" / "requirements-otel.txt"
        what = f"-r {lock}" if lock.exists() else "'hb[otel]'"
        install = f"uv pip install --python {sys.executable} {what}"
        return f"OpenTelemetry is not installed, so no trace was sent\n  → {install}, or set OTEL_TRACES_EXPORTER=none"
    except Exception as error:  # of a library, or of a variable it cannot read
        return f"the trace was not sent: {type(error).__name__}"


def _made(timeline: Timeline, environment: Mapping[str, str]) -> list[ReadableSpan]:
    """The spans as OpenTelemetry's, each after its parent. Those that a sampler leaves out are not among them."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    kept: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            kept.append(span)

    provider = TracerProvider(resource=Resource.create(_resource(environment)), shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("hb", hermetic.__version__)
    carrier = {name: environment.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    outside = TraceContextTextMapPropagator().extract(carrier)
    on_path, contexts = timeline.on_path(), {0: outside}
    for span in worth_sending(timeline.spans):
        start, end = (_nanos(timeline, at) for at in (span.since, span.until))
        said = attributes(span, span.number in on_path)
        one = tracer.start_span(span.name, contexts.get(span.parent, outside), start_time=start, attributes=said)
        if failed(span):
            one.set_status(StatusCode.ERROR)
        one.end(end)
        contexts[span.number] = set_span_in_context(one)
    return kept


def worth_sending(spans: Sequence[Span]) -> list[Span]:
    """The longest, and all that they are in, in the order of their beginnings."""
    known = {one.number: one for one in spans}
    long = [one for one in spans if one.name == ACTION or one.until - one.since >= SHORT or not one.parent]
    kept: set[int] = set()
    for one in sorted(long, key=lambda one: one.since - one.until)[:MOST]:
        number = one.number
        while number in known and number not in kept:
            kept.add(number)
            number = known[number].parent
    return [one for one in spans if one.number in kept]


def attributes(span: Span, critical: bool) -> dict[str, Any]:
    said: dict[str, Any] = {f"hb.{name}": value for name, value in span.attributes.items()}
    return {**said, "hb.critical": True} if critical else said


def failed(span: Span) -> bool:
    return "error" in span.attributes or span.attributes.get("outcome") in BAD


def _resource(environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment says has precedence; the SDK would let ours win."""
    named = environment.get("OTEL_SERVICE_NAME") or "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {"service.version": hermetic.__version__, **({} if named else {"service.name": SERVICE})}


def _sender(environment: Mapping[str, str]) -> Callable[[Sequence[ReadableSpan]], str]:
    """What sends spans, and returns what went wrong."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Once(requests.Session):
        """Connects quickly or not at all: the exporter would try again and again."""

        said = "it could not be encoded"

        def request(self, *arguments: Any, **named: Any) -> requests.Response:
            patience = (CONNECT, named.get("timeout") or PATIENCE)
            try:
                answer = super().request(*arguments, **{**named, "timeout": patience})
            except requests.RequestException as error:
                self.said = f"{_where(environment)} cannot be reached"
                raise ConnectionAbortedError from error
            self.said = f"{_where(environment)} answered {answer.status_code}"
            return answer

    session = Once()
    exporter = OTLPSpanExporter(session=session, timeout=PATIENCE)

    def send(spans: Sequence[ReadableSpan]) -> str:
        try:
            parts = [spans[start : start + BATCH] for start in range(0, len(spans), BATCH)]
            good = all(exporter.export(part) is SpanExportResult.SUCCESS for part in parts)
        except Exception as error:
            session.said = session.said if isinstance(error, ConnectionAbortedError) else type(error).__name__
            good = False
        session.close()
        return "" if good else f"the trace was not sent: {session.said}"

    return send


def _where(environment: Mapping[str, str]) -> str:
    """The collector, without what may be secret in its address."""
    address = urlsplit(_first(environment, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"))
    return f"the collector at {address.hostname or '?'}"


def _nanos(timeline: Timeline, at: float) -> int:
    return round((timeline.epoch + at - timeline.began) * 1e9)


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((value for name in names if (value := environment.get(name, ""))), "")
