from dataclasses import replace

import pytest
from prometheus_client.exposition import choose_encoder

from gunicorn_prometheus_core.text import PROTOBUF, Format, negotiate

TEXT = Format(openmetrics=False, version="0.0.4")
OM = Format(openmetrics=True, version="1.0.0")
OM_0 = Format(openmetrics=True, version="0.0.1")
OM_UTF8 = Format(openmetrics=True, version="1.0.0", escaping="allow-utf-8")
TEXT_1 = Format(openmetrics=False, version="1.0.0")
TEXT_UTF8 = Format(openmetrics=False, version="1.0.0", escaping="allow-utf-8")

#: What Prometheus sends, by its version (scrape/scrape.go, acceptHeader).
PROMETHEUS = [
    pytest.param(
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
        "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        OM,
        id="2.40-2.55",
    ),
    pytest.param(
        "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        OM_0,
        id="2.5-2.25",
    ),
    pytest.param("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT, id="2.x-without-openmetrics"),
    pytest.param(
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        OM_UTF8,
        id="3.x",
    ),
    pytest.param(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
        "encoding=delimited;q=0.6,"
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        PROTOBUF,
        id="3.x-with-protobuf",
    ),
    pytest.param(
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4",
        TEXT_UTF8,
        id="3.x-text-only",
    ),
    pytest.param(
        "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.1",
        OM,
        id="3.x-legacy-names",
    ),
]
PROTOBUF_MEDIA = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily"
OTHERS = [
    pytest.param(f"{PROTOBUF_MEDIA};encoding=delimited, text/plain;q=0.3", PROTOBUF, id="telegraf"),
    pytest.param(
        f"{PROTOBUF_MEDIA};encoding=delimited;escaping=values",
        replace(PROTOBUF, escaping="values"),
        id="protobuf-with-values",
    ),
    pytest.param(f"{PROTOBUF_MEDIA};encoding=text, text/plain;q=0.3", TEXT, id="protobuf-as-text"),
    pytest.param(
        "application/vnd.google.protobuf;proto=other;encoding=delimited", TEXT, id="other-protobuf"
    ),
    pytest.param(
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        TEXT,
        id="browser",
    ),
    ("*/*", TEXT),
    ("text/*", TEXT),
    ("text/plain", TEXT),
    ("text/plain; charset=utf-8", TEXT),
    ("text/plain;version=1.0.0", TEXT_1),
    ("TEXT/PLAIN;VERSION=1.0.0", TEXT_1),
    ('text/plain; version="1.0.0"; escaping="allow-utf-8"', TEXT_UTF8),
    ("application/openmetrics-text", OM),
    ("application/openmetrics-text; version=1.0.0; escaping=dots", Format(True, "1.0.0", "dots")),
    (
        "application/openmetrics-text; version=1.0.0; escaping=values",
        Format(True, "1.0.0", "values"),
    ),
    # Quality decides, then the order.
    ("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT),
    ("text/plain;q=0.5, application/openmetrics-text;q=0.5", TEXT),
    ("application/openmetrics-text;q=0.5, text/plain;q=0.5", OM),
    ("application/openmetrics-text;q=0, text/plain;q=0.1", TEXT),
    ("application/openmetrics-text;q=0", TEXT),
    # A version we don't have is no offer; an unknown escaping is the default one.
    ("application/openmetrics-text;version=2.0.0", TEXT),
    ("application/openmetrics-text;version=2.0.0, text/plain;version=1.0.0;q=0.1", TEXT_1),
    ("text/plain;version=9;q=1, application/openmetrics-text;q=0.1", OM),
    ("application/openmetrics-text;version=1.0.0;escaping=shouting", OM),
    # Nothing of ours, or nothing at all: what every client understands.
    (None, TEXT),
    ("", TEXT),
    ("application/json", TEXT),
    (",,;;=,q=,;q", TEXT),
    ("text/plain;q=high, application/openmetrics-text;q=0.1", OM),
    ("application/openmetrics-text;q=nan", TEXT),
    ("\x00\xff;=;", TEXT),
]


@pytest.mark.parametrize(("accept", "form"), PROMETHEUS + OTHERS)
def test_the_format_for_an_accept_header(accept, form):
    assert negotiate(accept) == form


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        (TEXT, "text/plain; version=0.0.4; charset=utf-8"),
        (TEXT_1, "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (TEXT_UTF8, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        (OM_0, "application/openmetrics-text; version=0.0.1; charset=utf-8"),
        (OM, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            OM_UTF8,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (PROTOBUF, f"{PROTOBUF_MEDIA}; encoding=delimited"),
        (
            replace(PROTOBUF, escaping="allow-utf-8"),
            f"{PROTOBUF_MEDIA}; encoding=delimited; escaping=allow-utf-8",
        ),
    ],
)
def test_the_content_type_names_version_and_escaping(form, content_type):
    assert form.content_type == content_type


@pytest.mark.newest  # it is compared with what prometheus_client offers, which has become more
@pytest.mark.parametrize(
    "accept",
    [
        "text/plain;version=0.0.4",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "text/plain;version=1.0.0;escaping=dots",
        "application/openmetrics-text;version=1.0.0;escaping=values",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        "application/json",
    ],
)
def test_a_single_media_range_gets_the_content_type_that_prometheus_client_gives(accept):
    assert negotiate(accept).content_type == choose_encoder(accept)[1]
