import math

import pytest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from gunicorn_prometheus_core.exposition import Exposition
from gunicorn_prometheus_core.text import Format, NumberTexts

SCHEMES = ["underscores", "dots", "values", "allow-utf-8"]
ODD_TEXTS = {
    "quote": 'say "hi"',
    "backslash": "C:\\new\\table",
    "newline": "one\ntwo",
    "return": "one\rtwo\r\n",
    "utf8": "größe ✓ 🦄",
    "spaces": "  two  ",
    "empty": "",
    "looks like a sample": 'x} 1\ny{z="',
    "separators": "\u2028\u2029\x85\x0b\x0c\x1c",
}
METRIC_NAMES = [
    "plain",
    "with:colon",
    "with.dots",
    "with_under.dots",
    "größe",
    "with space",
    'with"quote',
    "with\\backslash",
    "0digit.first",
    "a-b",
    "__double__",
    "🦄",
    "U__looks_escaped",
]
LABEL_NAMES = ["plain", "with:colon", "with.dots", "größe", "0digit", 'with"quote', "a b", "🦄"]


def lines(text):
    # Only "\n" ends a line; str.splitlines knows many more.
    return sorted(text.split(b"\n"))


#: Compared with prometheus_client's own text, which knows escaping schemes only in newer versions.
#: What we write does not depend on its version.
AS_THE_NEWEST_DOES = pytest.mark.newest


@AS_THE_NEWEST_DOES
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", METRIC_NAMES)
def test_a_metric_name_is_escaped_as_prometheus_client_does(folder, name, scheme):
    folder.write("a", "gauge_max", name, name, {}, 1)
    folder.write("a", "gauge_max", name, name, {"x": "1"}, 2)
    folder.write("a", "counter", f"{name}.c", f"{name}.c_total", {"x": "1"}, 3)
    ours = Exposition(folder).render(Format(openmetrics=False, version="1.0.0", escaping=scheme))
    assert lines(ours) == lines(folder.stock_text(scheme))


@AS_THE_NEWEST_DOES
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", LABEL_NAMES)
def test_a_label_name_is_escaped_as_prometheus_client_does(folder, name, scheme):
    folder.write("a", "gauge_max", "metric", "metric", {name: "1", "b": "2"}, 1)
    folder.write("a", "gauge_all", "apart", "apart", {name: "1"}, 1)
    folder.write("a", "counter", "count", "count_total", {name: "1"}, 1)
    ours = Exposition(folder).render(Format(openmetrics=False, version="1.0.0", escaping=scheme))
    assert lines(ours) == lines(folder.stock_text(scheme))


@AS_THE_NEWEST_DOES
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_a_label_value_is_escaped_as_prometheus_client_does(folder, text, scheme):
    folder.write("a", "gauge_max", "metric", "metric", {"x": text}, 1)
    folder.write("a", "counter", "count", "count_total", {"x": text, "y": text}, 1)
    ours = Exposition(folder).render(Format(openmetrics=False, version="1.0.0", escaping=scheme))
    assert lines(ours) == lines(folder.stock_text(scheme))


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_a_help_text_is_escaped_as_prometheus_client_does(folder, text):
    folder.write("a", "gauge_max", "metric", "metric", {}, 1, help=text)
    ours = Exposition(folder).render(Format(openmetrics=False, version="0.0.4"))
    assert lines(ours) == lines(folder.stock_text())


@AS_THE_NEWEST_DOES
@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_an_openmetrics_help_text_is_escaped_as_prometheus_client_does(folder, text):
    folder.write("a", "gauge_max", "metric", "metric", {}, 1, help=text)
    ours = Exposition(folder).render(Format(openmetrics=True, version="1.0.0"))
    stock = openmetrics._escape(text, openmetrics.ALLOWUTF8, None)
    assert ours.split(b"\n")[0] == f"# HELP metric {stock}".encode()


@AS_THE_NEWEST_DOES
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_histogram_with_odd_names_is_escaped_in_all_its_samples(folder, scheme):
    folder.observe("a", "größe.x", {"a.b": 'say "hi"'}, {1.0: 2, math.inf: 1}, 7.5)
    ours = Exposition(folder).render(Format(openmetrics=False, version="1.0.0", escaping=scheme))
    assert lines(ours) == lines(folder.stock_text(scheme))


@pytest.mark.parametrize(
    "value",
    [0.0, 1.0, -1.0, 0.1, 1e-9, 123456.0, 1234567.0, 1e21, 2.0**53, math.pi, math.inf, -math.inf],
)
def test_a_number_is_written_as_prometheus_client_does(value):
    texts = NumberTexts()
    assert texts[value] == floatToGoString(value).encode()
    assert texts[value] == floatToGoString(value).encode()


def test_nan_is_written_and_not_remembered():
    texts = NumberTexts()
    assert [texts[math.nan], texts[float("nan")]] == [b"NaN", b"NaN"]
    assert not texts
