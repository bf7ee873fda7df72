"""Each worker by itself: which one hangs, leaks, fails, or does nothing."""

from model import WORKER, Board, Panel, Query, Row

BY = "by (job, instance, worker_id)"
NAME = "{{instance}} {{worker_id}}"


def number(state: str) -> str:
    """Select the workers that are in a state."""
    return f'max {BY} (gunicorn_worker_state{{WORKER, state="{state}"}})'


ALL = Row(
    "Workers",
    (
        Panel(
            "Now",
            "One row for each number of a worker.",
            (
                Query(
                    f"sum {BY} (rate(gunicorn_worker_requests_total{{WORKER}}[RATE]))", "Requests/s"
                ),
                Query(f"max {BY} (gunicorn_worker_requests_in_progress{{WORKER}})", "Under way"),
                Query(
                    f"max {BY} (gunicorn_worker_heartbeat_age_seconds{{WORKER}})", "Silent for", "s"
                ),
                Query(f"max {BY} (gunicorn_worker_uptime_seconds{{WORKER}})", "Up for", "s"),
                Query(f"max {BY} (gunicorn_worker_boot_seconds{{WORKER}})", "Took to start", "s"),
                Query(f"max {BY} (gunicorn_worker_memory_bytes{{WORKER}})", "Memory", "bytes"),
                Query(f"max {BY} (gunicorn_worker_cpu_percent{{WORKER}})", "CPU", "percent"),
            ),
            kind="table",
            width=24,
            rows=(("job", "Job"), ("instance", "Instance"), ("worker_id", "Worker")),
            sorted_by="Silent for",
        ),
        Panel(
            "State",
            "What each worker is at. Timed out is one that the master has told to abort.",
            (
                Query(
                    f"0 * {number('stopped')} or 1 * ({number('running')} == 1)"
                    f" or 2 * ({number('quitting')} == 1) or 3 * ({number('aborting')} == 1)",
                    NAME,
                ),
            ),
            kind="state-timeline",
            width=24,
            states=(
                ("stopped", "text"),
                ("running", "green"),
                ("quitting", "orange"),
                ("timed out", "red"),
            ),
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests",
            "Requests per second that each worker has handled.",
            (Query(f"sum {BY} (rate(gunicorn_worker_requests_total{{WORKER}}[RATE]))", NAME),),
            unit="reqps",
        ),
        Panel(
            "Time to answer",
            "Within which 95 of 100 requests to each worker are answered.",
            (
                Query(
                    "histogram_quantile(0.95, sum by (job, instance, worker_id, le)"
                    " (rate(gunicorn_worker_request_duration_seconds_bucket{WORKER}[RATE])))",
                    NAME,
                ),
            ),
            unit="s",
        ),
        Panel(
            "Utilisation",
            "Share of the places for requests of each worker that was taken.",
            (
                Query(
                    f"sum {BY} (rate(gunicorn_worker_busy_seconds_total{{WORKER}}[RATE]))"
                    f" / sum {BY} (gunicorn_worker_capacity{{WORKER}})",
                    NAME,
                ),
            ),
            unit="percentunit",
            thresholds=((0.85, "orange"), (0.9, "red")),
        ),
        Panel(
            "Under way",
            "Requests that each worker is at.",
            (Query("gunicorn_worker_requests_in_progress{WORKER}", NAME),),
        ),
        Panel(
            "Exceptions",
            "Requests per second that failed by an exception, by its class.",
            (
                Query(
                    "sum by (error_type) (rate(gunicorn_worker_failed_requests{WORKER}[RATE]))",
                    "{{error_type}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Errors that workers answered",
            "Requests per second that the worker answered in the application's place, with those "
            "that it could not parse.",
            (
                Query(
                    "sum by (job, instance, worker_id, error_type)"
                    " (rate(gunicorn_worker_error_handling{WORKER}[RATE]))",
                    NAME + " {{error_type}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Read",
            "Body bytes per second that each worker has read.",
            (
                Query(
                    f"sum {BY} (rate(gunicorn_worker_request_size_bytes_sum{{WORKER}}[RATE]))", NAME
                ),
            ),
            unit="Bps",
        ),
        Panel(
            "Written",
            "Body bytes per second that each worker has written.",
            (
                Query(
                    f"sum {BY} (rate(gunicorn_worker_response_size_bytes_sum{{WORKER}}[RATE]))",
                    NAME,
                ),
            ),
            unit="Bps",
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Signs of life",
            "How long ago the last one was, of the time after which the master kills the worker. "
            "An idle sync worker gives one every half of that.",
            (
                Query(
                    "gunicorn_worker_heartbeat_age_seconds{WORKER}"
                    " / gunicorn_worker_timeout_seconds{WORKER}",
                    NAME,
                ),
            ),
            unit="percentunit",
            thresholds=((0.8, "red"),),
        ),
        Panel(
            "Memory",
            "Resident memory. It grows until the worker is replaced if the application leaks.",
            (Query("gunicorn_worker_memory_bytes{WORKER}", NAME),),
            unit="bytes",
        ),
        Panel(
            "CPU",
            "Of one core. A Python process seldom gets more.",
            (Query("gunicorn_worker_cpu_percent{WORKER}", NAME),),
            unit="percent",
        ),
        Panel(
            "Uptime",
            "Falls when a worker is replaced.",
            (Query("gunicorn_worker_uptime_seconds{WORKER}", NAME),),
            unit="s",
        ),
        Panel(
            "Threads",
            "Native threads.",
            (Query("gunicorn_worker_threads{WORKER}", NAME),),
        ),
        Panel(
            "Open files",
            "Open file descriptors, connections included.",
            (Query("gunicorn_worker_open_fds{WORKER}", NAME),),
        ),
    ),
)

SOME = Row(
    "Of some kinds of workers",
    (
        Panel(
            "Wait for a thread",
            "Within which 50 and 95 of 100 connections on which something came got a thread.",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le)"
                    " (rate(gunicorn_worker_thread_wait_seconds_bucket{HERE}[RATE])))",
                    f"{share:.0%}",
                )
                for share in (0.5, 0.95)
            ),
            unit="s",
            width=8,
            needs="gthread workers",
        ),
        Panel(
            "Open WebSockets",
            "WebSockets of each worker that are open.",
            (Query("gunicorn_worker_websockets_open{WORKER}", NAME),),
            width=8,
            needs="WebSockets",
        ),
        Panel(
            "WebSockets",
            "WebSockets per second, by what became of their handshake.",
            (
                Query(
                    "sum by (outcome) (rate(gunicorn_worker_websockets_total{WORKER}[RATE]))",
                    "{{outcome}}",
                ),
            ),
            width=8,
            needs="WebSockets",
        ),
    ),
)

BOARD = Board(
    "workers",
    "Workers",
    "Each worker by itself.",
    (ALL, REQUESTS, PROCESSES, SOME),
    (WORKER,),
)
