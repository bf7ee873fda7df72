"""The exporter: what could make the numbers of the other dashboards wrong or incomplete."""

from model import Board, Panel, Query, Row

SHARED = "a storage that hosts share, such as Redis"
BY = "by (job, instance)"
NAME = "{{instance}}"


def errors(family: str, name: str) -> Query:
    """How often something has failed; 0 where it never has."""
    return Query(
        f"sum {BY} (increase({family}{{HERE}}[RATE]))"
        f" or 0 * sum {BY} (gunicorn_exporter_scrapes_total{{HERE}})",
        f"{NAME}: {name}",
    )


SCRAPES = Row(
    "Scrapes",
    (
        Panel(
            "Up",
            "Whether Prometheus gets metrics.",
            (Query('up{job=~"$job", instance=~"$instance"}', NAME),),
            most=1,
            width=6,
        ),
        Panel(
            "Scrapes",
            "Answered per second, whoever asks.",
            (Query(f"sum {BY} (rate(gunicorn_exporter_scrapes_total{{HERE}}[RATE]))", NAME),),
            unit="reqps",
            width=6,
        ),
        Panel(
            "Time for a scrape",
            "Of the exporter for computing one, and of Prometheus until it has it.",
            (
                Query(
                    f"sum {BY} (rate(gunicorn_exporter_scrape_seconds_total{{HERE}}[RATE]))"
                    f" / sum {BY} (rate(gunicorn_exporter_scrapes_total{{HERE}}[RATE]))",
                    NAME,
                ),
                Query("scrape_duration_seconds{HERE}", f"{NAME}, whole"),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Samples",
            "In a scrape, with those of the application.",
            (Query("scrape_samples_scraped{HERE}", NAME),),
            width=6,
        ),
    ),
)

TROUBLES = Row(
    "Errors",
    (
        Panel(
            "Errors",
            "All of these are 0 while nothing is wrong.",
            (
                errors("gunicorn_exporter_scrape_errors_total", "scrapes"),
                errors("gunicorn_exporter_collector_errors_total", "collectors"),
                errors("gunicorn_exporter_recording_errors_total", "recording"),
                errors("gunicorn_exporter_keys_rejected_total", "rejected keys"),
                errors("gunicorn_exporter_pages_quarantined_total", "corrupt pages"),
                errors("gunicorn_exporter_series_dropped_total", "series without room"),
                errors("gunicorn_exporter_access_errors_total", "certificates and users"),
                errors("gunicorn_exporter_settings_errors_total", "settings"),
                errors("gunicorn_exporter_answer_errors_total", "other answers"),
            ),
        ),
        Panel(
            "Starts",
            "Times that the exporter process was started again, and that its port could not be "
            "opened.",
            (
                errors("gunicorn_exporter_restarts_total", "started again"),
                errors("gunicorn_exporter_bind_failures_total", "no port"),
            ),
        ),
        Panel(
            "Refused",
            "Clients that were refused or given up on, by reason.",
            (
                Query(
                    "sum by (job, instance, reason)"
                    " (increase(gunicorn_exporter_refused_total{HERE}[RATE]))",
                    NAME + " {{reason}}",
                ),
            ),
        ),
        Panel(
            "Room for pages",
            "Left in the file system that the server records into. When it is full, new series are "
            "dropped.",
            (
                Query(
                    "gunicorn_exporter_directory_available_bytes{HERE}"
                    " / gunicorn_exporter_directory_size_bytes{HERE}",
                    NAME,
                ),
            ),
            unit="percentunit",
            most=1,
        ),
    ),
)

STORAGE = Row(
    "Storage that hosts share",
    (
        Panel(
            "Up",
            "Whether it took and gave what it was asked last.",
            (Query("gunicorn_exporter_storage_up{HERE}", NAME),),
            most=1,
            width=8,
            needs=SHARED,
        ),
        Panel(
            "Last publish",
            "How long ago it was.",
            (
                Query(
                    "time() - (gunicorn_exporter_last_publish_timestamp_seconds{HERE} > 0)",
                    NAME,
                ),
            ),
            unit="s",
            width=8,
            needs=SHARED,
        ),
        Panel(
            "Attempts that failed",
            "At publishing and at collecting.",
            (
                Query(
                    f"sum {BY} (increase(gunicorn_exporter_publish_errors_total{{HERE}}[RATE]))",
                    f"{NAME}: publishing",
                ),
                Query(
                    f"sum {BY} (increase(gunicorn_exporter_collect_errors_total{{HERE}}[RATE]))",
                    f"{NAME}: collecting",
                ),
            ),
            width=8,
            needs=SHARED,
        ),
    ),
)

SIDECAR = Row(
    "Sidecars",
    (
        Panel(
            "Uptime",
            "Since the sidecar began.",
            (Query("gunicorn_sidecar_uptime_seconds{HERE}", NAME),),
            unit="s",
            width=8,
            needs="a sidecar",
        ),
        Panel(
            "Size of the pages",
            "Of all files in the directory that it reads.",
            (Query("gunicorn_sidecar_multiproc_dir_size_bytes{HERE}", NAME),),
            unit="bytes",
            width=8,
            needs="a sidecar",
        ),
        Panel(
            "Files",
            "In the directory that it reads. As many as processes live at once need.",
            (Query("gunicorn_sidecar_multiproc_files_count{HERE}", NAME),),
            width=8,
            needs="a sidecar",
        ),
    ),
)

BOARD = Board(
    "exporter",
    "Exporter and storage",
    "What could make the numbers of the other dashboards wrong or incomplete.",
    (SCRAPES, TROUBLES, STORAGE, SIDECAR),
)
