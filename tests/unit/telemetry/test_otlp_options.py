"""OpenTelemetry's variables: those that count, those that cannot be used."""

from __future__ import annotations

import pytest

from clary.telemetry.otlp_options import OtlpOptions, Target, options_of

BASE = "http://collector:4318"


def test_without_an_address_nothing_is_exported() -> None:
    assert options_of("", {}) is None
    assert options_of("", {"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}) is None
    assert options_of(BASE, {"OTEL_SDK_DISABLED": "true"}) is None
    assert options_of(BASE, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}) is None


def test_the_base_address_serves_both_signals() -> None:
    assert options_of(f"{BASE}/", {}) == OtlpOptions(
        Target(f"{BASE}/v1/traces"), Target(f"{BASE}/v1/metrics"), resource={"service.name": "clary"}
    )


def test_a_signal_s_own_variable_goes_before_that_of_all() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://traces/own",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s%20ecret, x=1",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "y=2",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE": "/c.pem",
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/k.pem",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Delta",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment=prod",
        "OTEL_SERVICE_NAME": "models",
    }
    assert options_of(BASE, env) == OtlpOptions(
        Target("https://traces/own", {"api-key": "s ecret", "x": "1"}, True, 2.5, "/ca.pem", ("/c.pem", "/k.pem")),
        Target(f"{BASE}/v1/metrics", {"y": "2"}, False, 2.5, "/ca.pem"),
        True,
        1.0,
        0.5,
        {"service.name": "models", "deployment.environment": "prod"},
    )


def test_one_signal_may_be_left_out() -> None:
    only = options_of("", {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/v1/metrics"})
    assert only is not None
    assert (only.traces, only.metrics) == (None, Target("http://m/v1/metrics"))
    none = options_of(BASE, {"OTEL_TRACES_EXPORTER": "none"})
    assert none is not None
    assert none.traces is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc' is not served; http/protobuf is"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "'http/json' is not served"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector", "is not an address"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://u:p@collector", "give them in OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is neither gzip nor none"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "is not a number of milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "is not a number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "mostly", "none of cumulative, delta, lowmemory"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "is neither otlp nor none"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem", "go together"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        options_of(BASE, {name: value})
    assert name in str(refused.value)


@pytest.mark.parametrize("value", ["secret", "=secret", "a b=secret", "a=%0Asecret"])
def test_headers_are_never_shown(value: str) -> None:
    with pytest.raises(ValueError, match="is not a list of NAME=VALUE") as refused:
        options_of(BASE, {"OTEL_EXPORTER_OTLP_HEADERS": value})
    assert "secret" not in str(refused.value)
