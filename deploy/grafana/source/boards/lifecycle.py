"""The master: how many workers it has, how they end, and what it was told."""

from model import Board, Panel, Query, Row

WORKERS = Row(
    "Workers",
    (
        Panel(
            "Alive and wanted",
            "Worker processes alive, and how many the master wants. In a reload there are more.",
            (
                Query("sum by (job, instance) (gunicorn_workers{HERE})", "{{instance}}"),
                Query(
                    "sum by (job, instance) (gunicorn_workers_target{HERE})",
                    "{{instance}}, wanted",
                ),
            ),
        ),
        Panel(
            "Age",
            "Of the oldest and the youngest worker of an instance.",
            (
                Query(
                    "max by (job, instance) (gunicorn_worker_uptime_seconds{HERE})",
                    "{{instance}}, oldest",
                ),
                Query(
                    "min by (job, instance) (gunicorn_worker_uptime_seconds{HERE})",
                    "{{instance}}, youngest",
                ),
            ),
            unit="s",
        ),
        Panel(
            "Time to start",
            "From the start of a worker to its being ready. The slowest of those alive.",
            (Query("max by (job, instance) (gunicorn_worker_boot_seconds{HERE})", "{{instance}}"),),
            unit="s",
        ),
        Panel(
            "Dirty workers",
            "Dirty workers of Gunicorn that are alive.",
            (Query("sum by (job, instance) (gunicorn_dirty_workers{HERE})", "{{instance}}"),),
            needs="dirty workers",
        ),
    ),
)

ENDS = Row(
    "How workers end",
    (
        Panel(
            "Causes",
            "Workers that ended, by cause. The first one of a cause and worker is not in the plot, "
            "but in the table.",
            (
                Query(
                    "sum by (cause) (increase(gunicorn_worker_exits_total{HERE}[RATE]))",
                    "{{cause}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Last ends",
            "When a worker last ended for each cause, and how many have ended for it since the "
            "server was started.",
            (
                Query(
                    "1000 * max by (job, instance, cause)"
                    " (gunicorn_worker_last_exit_timestamp_seconds{HERE})",
                    "Last",
                    "dateTimeFromNow",
                ),
                Query(
                    "sum by (job, instance, cause) (gunicorn_worker_exits_total{HERE})", "Workers"
                ),
            ),
            kind="table",
            rows=(("job", "Job"), ("instance", "Instance"), ("cause", "Cause")),
            sorted_by="Last",
        ),
        Panel(
            "Types",
            "Workers that ended: told to (signal), by max_requests (recycle), or by an error.",
            (
                Query(
                    "sum by (restart_type)"
                    " (increase(gunicorn_worker_restart_count_total{HERE}[RATE]))",
                    "{{restart_type}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "By worker",
            "Which numbers of workers have ended.",
            (
                Query(
                    "sum by (job, instance, worker_id)"
                    " (increase(gunicorn_worker_restart_total{HERE}[RATE]))",
                    "{{instance}} {{worker_id}}",
                ),
            ),
            stacked=True,
        ),
    ),
)

TOLD = Row(
    "The master",
    (
        Panel(
            "Signals",
            "Signals that the master has handled.",
            (
                Query(
                    "sum by (job, instance, reason)"
                    " (increase(gunicorn_master_worker_restart_total{HERE}[RATE]))",
                    "{{instance}} {{reason}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Last signals",
            "When the master last handled each signal.",
            (
                Query(
                    "1000 * max by (job, instance, reason)"
                    " (gunicorn_master_last_signal_timestamp_seconds{HERE})",
                    "Last",
                    "dateTimeFromNow",
                ),
            ),
            kind="table",
            width=8,
            rows=(("job", "Job"), ("instance", "Instance"), ("reason", "Signal")),
            sorted_by="Last",
        ),
        Panel(
            "Backlog",
            "Connections that wait to be accepted.",
            (Query("gunicorn_listener_backlog{HERE}", "{{instance}} {{listener}}"),),
            width=8,
        ),
    ),
)

BOARD = Board(
    "lifecycle",
    "Master and lifecycle",
    "How many workers there are, how they end, and what the master was told.",
    (WORKERS, ENDS, TOLD),
)
