"""Which routes are asked for, slow, large, or fail."""

from model import ENDPOINT, Board, Panel, Query, Row

DURATION = "gunicorn_http_request_duration_seconds"
BY = "by (method, endpoint)"
NAME = "{{method}} {{endpoint}}"
#: So many routes in a plot. All of them are in the table.
MOST = 10


def rate(suffix: str, *matchers: str) -> str:
    """By route, the rate of a sample of the durations."""
    selected = ", ".join(("{ROUTE", *matchers))
    return f"sum {BY} (rate({DURATION}_{suffix}{selected}}}[RATE]))"


FAILED = rate("count", 'status=~"5.."')

ALL = Row(
    "Routes",
    (
        Panel(
            "Now",
            "One row for each route and method. Workers needed are the seconds that its requests "
            "took in each second.",
            (
                Query(rate("count"), "Requests/s", "reqps"),
                Query(rate("sum"), "Workers needed", "none"),
                Query(f"{rate('sum')} / {rate('count')}", "Mean", "s"),
                Query(
                    "histogram_quantile(0.95, sum by (method, endpoint, le)"
                    f" (rate({DURATION}_bucket{{ROUTE}}[RATE])))",
                    "95 of 100",
                    "s",
                ),
                Query(f"{FAILED} / {rate('count')}", "Failed", "percentunit"),
            ),
            kind="table",
            width=24,
            height=10,
            rows=(("method", "Method"), ("endpoint", "Endpoint")),
            sorted_by="Workers needed",
        ),
    ),
)

TIMES = Row(
    "Requests and their time",
    (
        Panel(
            "Requests",
            f"Requests per second. The {MOST} routes with most.",
            (Query(f"topk({MOST}, {rate('count')})", NAME),),
            unit="reqps",
        ),
        Panel(
            "Workers needed",
            f"Seconds that the requests to a route took in each second: the {MOST} largest.",
            (Query(f"topk({MOST}, {rate('sum')})", NAME),),
            unit="none",
            stacked=True,
        ),
        Panel(
            "Time to answer",
            f"Within which 95 of 100 requests are answered. The {MOST} slowest routes.",
            (
                Query(
                    f"topk({MOST}, histogram_quantile(0.95, sum by (method, endpoint, le)"
                    f" (rate({DURATION}_bucket{{ROUTE}}[RATE]))))",
                    NAME,
                ),
            ),
            unit="s",
        ),
        Panel(
            "Times",
            "How many requests took how long.",
            (Query(f"sum by (le) (increase({DURATION}_bucket{{ROUTE}}[RATE]))", "{{le}}"),),
            kind="heatmap",
            unit="s",
        ),
    ),
)

FAILURES = Row(
    "Failures",
    (
        Panel(
            "5xx",
            "Requests per second that were answered with 500 or more.",
            (Query(FAILED, NAME),),
            unit="reqps",
            width=8,
        ),
        Panel(
            "4xx",
            "Requests per second that were answered with 400 to 499. 499 is a client that did not "
            "wait for its answer.",
            (
                Query(
                    "sum by (method, endpoint, status)"
                    f' (rate({DURATION}_count{{ROUTE, status=~"4.."}}[RATE]))',
                    NAME + " {{status}}",
                ),
            ),
            unit="reqps",
            width=8,
        ),
        Panel(
            "Exceptions",
            "Requests per second that failed by an exception.",
            (
                Query(
                    "sum by (method, endpoint, error_type)"
                    " (rate(gunicorn_worker_failed_requests{ROUTE}[RATE]))",
                    NAME + " {{error_type}}",
                ),
            ),
            unit="reqps",
            width=8,
        ),
    ),
)

SIZES = Row(
    "Sizes",
    (
        Panel(
            "Read",
            f"Body bytes per second of requests. The {MOST} routes with most.",
            (
                Query(
                    f"topk({MOST}, sum {BY}"
                    " (rate(gunicorn_http_request_size_bytes_sum{ROUTE}[RATE])))",
                    NAME,
                ),
            ),
            unit="Bps",
            width=8,
        ),
        Panel(
            "Written",
            f"Body bytes per second of answers. The {MOST} routes with most.",
            (
                Query(
                    f"topk({MOST}, sum {BY}"
                    " (rate(gunicorn_http_response_size_bytes_sum{ROUTE}[RATE])))",
                    NAME,
                ),
            ),
            unit="Bps",
            width=8,
        ),
        Panel(
            "Counted as _other_",
            "Requests per second for which a label had as many values as it may.",
            (
                Query(
                    "sum by (job, instance, label)"
                    " (rate(gunicorn_exporter_labels_folded_total{HERE}[RATE]))",
                    "{{instance}} {{label}}",
                ),
            ),
            unit="reqps",
            width=8,
        ),
    ),
)

BOARD = Board(
    "routes",
    "Routes",
    "Which routes are asked for, slow, large, or fail.",
    (ALL, TIMES, FAILURES, SIZES),
    (ENDPOINT,),
)
