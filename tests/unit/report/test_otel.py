"""Spans to a collector: OpenTelemetry's own exporter to a receiver that decodes its messages; and collectors
that are not there, do not answer, or refuse."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest
from collector import Collector, collecting, values

from hermetic.cli.watch import collected
from hermetic.report import otel
from hermetic.report.timeline import Timeline
from hermetic.spans import Span

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"

SPANS = (
    Span(1, 0, "build", "hb", True, 10.0, 14.0, {"verb": "build", "patterns": ("//:a", "//:b"), "actions": 2}),
    Span(
        2, 1, "action", "run", True, 11.0, 12.5, {"action": "a", "label": "//:a", "outcome": "built", "peak_bytes": 7}
    ),
    Span(3, 2, "runs", "run", False, 11.5, 12.0, {}),
    Span(4, 1, "action", "run", True, 12.5, 13.0, {"action": "b", "label": "//:b", "outcome": "oom"}),
)
TIMELINE = Timeline(began=10.0, epoch=1_000.0, spans=SPANS, critical=("a",))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("OTEL_") or name in ("TRACEPARENT", "TRACESTATE") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv(ENDPOINT, found.url)
        yield found


def send() -> str:
    return otel.export(TIMELINE, os.environ)


def test_every_span_arrives_with_its_parent_its_times_and_its_attributes(collector: Collector) -> None:
    assert send() == ""
    assert collector.paths == ["/v1/traces"]
    build, a, runs, b = sorted(collector.spans, key=lambda one: (one.start_time_unix_nano, one.name))
    assert [one.parent_span_id for one in (build, a, runs, b)] == [b"", build.span_id, a.span_id, build.span_id]
    assert len({one.trace_id for one in (build, a, runs, b)}) == 1
    assert (a.start_time_unix_nano, a.end_time_unix_nano) == (1_001_000_000_000, 1_002_500_000_000)
    said = {"hb.action": "a", "hb.label": "//:a", "hb.outcome": "built", "hb.peak_bytes": 7, "hb.critical": True}
    assert values(a.attributes) == said
    assert values(build.attributes)["hb.patterns"] == ["//:a", "//:b"]
    assert [one.status.code for one in (build, a, b)] == [0, 0, 2]
    assert collector.resource["service.name"] == "hb"
    assert collector.resource["service.version"]


def test_a_large_trace_goes_in_several_requests(collector: Collector) -> None:
    many = tuple(Span(n, 0, "look", "look", True, 10.0, 11.0, {}) for n in range(1, 2 * otel.BATCH + 2))
    assert otel.export(Timeline(10.0, 0.0, many), os.environ) == ""
    assert [len(one.resource_spans[0].scope_spans[0].spans) for one in collector.requests] == [512, 512, 1]


@pytest.mark.parametrize(
    ("variables", "resource"),
    [
        ({"OTEL_SERVICE_NAME": "nightly"}, {"service.name": "nightly"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ci,team=infra"}, {"service.name": "ci", "team": "infra"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=infra"}, {"service.name": "hb", "team": "infra"}),
    ],
)
def test_the_environment_names_the_service(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], resource: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert send() == ""
    assert collector.resource.items() >= resource.items()


def test_headers_and_compression_are_the_environment_s(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=infra,authorization=Bearer%20t0ken")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert send() == ""
    assert collector.headers[0].items() >= {"x-team": "infra", "authorization": "Bearer t0ken"}.items()
    assert collector.headers[0]["content-encoding"] == "gzip"
    assert len(collector.spans) == 4


def test_a_build_in_ci_belongs_to_the_span_of_ci(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-01")
    assert send() == ""
    (build,) = [one for one in collector.spans if one.name == "build"]
    assert (build.trace_id.hex(), build.parent_span_id.hex()) == (TRACE, PARENT)


def test_what_ci_does_not_sample_is_not_sent(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-00")
    assert send() == ""
    assert collector.requests == []


@pytest.mark.parametrize("garbage", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
def test_a_parent_that_is_none_is_no_parent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, garbage: str
) -> None:
    monkeypatch.setenv("TRACEPARENT", garbage)
    assert send() == ""
    assert [one.parent_span_id for one in collector.spans if one.name == "build"] == [b""]


def test_of_a_huge_trace_the_longest_spans_and_what_they_are_in_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "MOST", 3)
    spans = [
        Span(1, 0, "build", "hb", True, 0, 10, {}),
        Span(2, 1, "look", "look", True, 0, 0.5, {}),
        Span(3, 2, "key", "look", False, 0, 5, {}),
        Span(4, 1, "action", "run", True, 0, 7, {}),
        Span(5, 1, "action", "run", True, 0, 0.0001, {}),
        Span(6, 1, "look", "look", True, 0, 0.0001, {}),
    ]
    assert [one.number for one in otel.worth_sending(spans)] == [1, 2, 3, 4]
    monkeypatch.setattr(otel, "MOST", 100)
    assert [one.number for one in otel.worth_sending(spans)] == [1, 2, 3, 4, 5]


# --- collectors that fail ------------------------------------------------------------------------------


def test_a_collector_that_is_not_there_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setenv(ENDPOINT, f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")
        assert send() == "the trace was not sent: the collector at 127.0.0.1 cannot be reached"


def test_a_collector_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "PATIENCE", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "the trace was not sent: the collector at 127.0.0.1" in send()


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_collector_that_refuses_is_quoted(collector: Collector, status: int) -> None:
    collector.status = status
    assert send() == f"the trace was not sent: the collector at 127.0.0.1 answered {status}"
    assert len(collector.bodies) == 1


def test_a_collector_that_is_busy_is_asked_again_but_not_for_long(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "PATIENCE", 0.4)
    collector.status = 503
    assert send().startswith("the trace was not sent: ")


def test_another_protocol_is_said_not_to_be_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert send().startswith("the trace was not sent: hb speaks http/protobuf, not grpc")


def test_without_the_extra_a_note_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    note = send()
    assert note.startswith("OpenTelemetry is not installed, so no trace was sent\n  → uv pip install --python ")
    assert "requirements-otel.txt" in note


# --- when it is wanted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "console, otlp"}, True),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "console"}, False),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "True"}, False),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_the_variables_decide(variables: dict[str, str], wanted: bool) -> None:
    assert collected(variables) is wanted
