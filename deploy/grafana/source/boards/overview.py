"""Is it well, and if not, where to look."""

from model import Board, Panel, Query, Row

BUSY = "gunicorn_worker_busy_seconds_total"
DURATION = "gunicorn_http_request_duration_seconds"
HOT = ((0.85, "orange"), (0.9, "red"))

NOW = Row(
    "Now",
    (
        Panel(
            "Requests per second",
            "Requests that have ended.",
            (Query(f"sum(rate({DURATION}_count{{HERE}}[RATE]))"),),
            kind="stat",
            unit="reqps",
            width=4,
            height=4,
        ),
        Panel(
            "Failed",
            "Share of the requests that were answered with 5xx.",
            (
                Query(
                    f'(sum(rate({DURATION}_count{{HERE, status=~"5.."}}[RATE])) or vector(0))'
                    f" / sum(rate({DURATION}_count{{HERE}}[RATE]))"
                ),
            ),
            kind="stat",
            unit="percentunit",
            width=4,
            height=4,
            thresholds=((0.01, "orange"), (0.05, "red")),
        ),
        Panel(
            "95 of 100 within",
            "Time within which 95 of 100 requests are answered.",
            (
                Query(
                    f"histogram_quantile(0.95, sum by (le) (rate({DURATION}_bucket{{HERE}}[RATE])))"
                ),
            ),
            kind="stat",
            unit="s",
            width=4,
            height=4,
        ),
        Panel(
            "Utilisation",
            "Share of the places for requests that was taken. Near 1, requests wait.",
            (
                Query(
                    f"sum(rate({BUSY}{{HERE}}[RATE])) / sum(gunicorn_worker_capacity{{HERE}})",
                ),
            ),
            kind="stat",
            unit="percentunit",
            width=4,
            height=4,
            thresholds=HOT,
        ),
        Panel(
            "Workers missing",
            "How many fewer workers there are than the masters want.",
            (
                Query(
                    "clamp_min(sum(gunicorn_workers_target{HERE}) - sum(gunicorn_workers{HERE}), 0)"
                ),
            ),
            kind="stat",
            width=4,
            height=4,
            thresholds=((1, "red"),),
        ),
        Panel(
            "Workers that failed",
            "Worker processes that ended by an error within the last hour: how many causes and "
            "numbers of workers there are. Which ones is on the dashboard Lifecycle.",
            (
                Query(
                    "count(time() - gunicorn_worker_last_exit_timestamp_seconds{HERE, "
                    'cause=~"timeout|killed|crash|boot_error|load_error|unknown"} < 3600)'
                    " or vector(0)"
                ),
            ),
            kind="stat",
            width=4,
            height=4,
            thresholds=((1, "orange"),),
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests by status",
            "Requests per second that have ended, by the status that was sent.",
            (Query(f"sum by (status) (rate({DURATION}_count{{HERE}}[RATE]))", "{{status}}"),),
            unit="reqps",
            stacked=True,
        ),
        Panel(
            "Time to answer",
            "Within which 50, 95 and 99 of 100 requests are answered.",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le)"
                    f" (rate({DURATION}_bucket{{HERE}}[RATE])))",
                    f"{share:.0%}",
                )
                for share in (0.5, 0.95, 0.99)
            ),
            unit="s",
        ),
    ),
)

WAITING = Row(
    "Saturation and waiting",
    (
        Panel(
            "Utilisation",
            "Share of the places for requests that was taken: by the requests that have ended, and "
            "by those under way at each scrape, which shows requests that don't end.",
            (
                Query(
                    f"sum by (job, instance) (rate({BUSY}{{HERE}}[RATE]))"
                    " / sum by (job, instance) (gunicorn_worker_capacity{HERE})",
                    "{{instance}}",
                ),
                Query(
                    "sum by (job, instance)"
                    " (avg_over_time(gunicorn_worker_requests_in_progress{HERE}[RATE]))"
                    " / sum by (job, instance)"
                    " (avg_over_time(gunicorn_worker_capacity{HERE}[RATE]))",
                    "{{instance}}, under way",
                ),
            ),
            unit="percentunit",
            most=1,
            thresholds=HOT,
        ),
        Panel(
            "Backlog",
            "Connections that wait to be accepted, of the number that can wait.",
            (
                Query(
                    "gunicorn_listener_backlog{HERE} / gunicorn_listener_backlog_limit{HERE}",
                    "{{instance}} {{listener}}",
                ),
            ),
            unit="percentunit",
            thresholds=((0.8, "red"),),
        ),
        Panel(
            "Time in the queue",
            "From the proxy's X-Request-Start to a worker reading the request, within which 50 and "
            "95 of 100 requests are read.",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le)"
                    " (rate(gunicorn_http_request_queue_seconds_bucket{HERE}[RATE])))",
                    f"{share:.0%}",
                )
                for share in (0.5, 0.95)
            ),
            unit="s",
            needs="a proxy that sends X-Request-Start",
        ),
        Panel(
            "Clocks that differ",
            "Requests per second whose X-Request-Start is in the future. Their time in the queue "
            "counts as 0.",
            (
                Query(
                    "sum by (job, instance)"
                    " (rate(gunicorn_http_request_queue_skewed_total{HERE}[RATE]))",
                    "{{instance}}",
                ),
            ),
            unit="reqps",
        ),
    ),
)

RESOURCES = Row(
    "Workers",
    (
        Panel(
            "Workers",
            "Worker processes alive, and how many the master wants.",
            (
                Query("sum by (job, instance) (gunicorn_workers{HERE})", "{{instance}}"),
                Query(
                    "sum by (job, instance) (gunicorn_workers_target{HERE})",
                    "{{instance}}, wanted",
                ),
            ),
            width=8,
        ),
        Panel(
            "Memory",
            "Resident memory of all workers of an instance.",
            (Query("sum by (job, instance) (gunicorn_worker_memory_bytes{HERE})", "{{instance}}"),),
            unit="bytes",
            width=8,
        ),
        Panel(
            "CPU",
            "Cores that all workers of an instance use.",
            (
                Query(
                    "sum by (job, instance) (gunicorn_worker_cpu_percent{HERE}) / 100",
                    "{{instance}}",
                ),
            ),
            width=8,
        ),
    ),
)

BOARD = Board(
    "overview",
    "Overview",
    "Requests, errors, how busy workers are, and who waits.",
    (NOW, REQUESTS, WAITING, RESOURCES),
)
