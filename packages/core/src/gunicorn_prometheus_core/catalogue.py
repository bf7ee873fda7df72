"""Every metric family the exporter gives, declared once.

What is recorded is recorded at the finest grain only; the coarser documented
families are sums made at scrape time (:mod:`gunicorn_prometheus_core.derive`),
so that two numbers about the same thing can't disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Seconds. Contains the documented bounds of gunicorn_worker_request_duration_seconds.
FINE_SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
#: Seconds, as documented.
COARSE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Bytes, as documented: 1 KiB to 4 MiB.
SIZE_BYTES = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0)

Type = Literal["counter", "gauge", "histogram"]

#: How a family comes to be: ``merged`` is recorded and merged over all processes like an
#: application's metric; ``worker`` is recorded by each worker and gets the label worker_id when it
#: is exposed; ``derived`` is computed from recorded ones; ``collected`` is measured at the scrape.
Source = Literal["merged", "worker", "derived", "collected"]


@dataclass(frozen=True)
class Family:
    """One metric family: its name as exposed, type, label names, help and bucket bounds.

    ``mode`` is the multiprocess mode of a gauge that is merged, one of prometheus_client's.
    """

    name: str
    type: Type
    labels: tuple[str, ...]
    source: Source
    help: str
    buckets: tuple[float, ...] = ()
    mode: str = ""

    @property
    def storage_name(self) -> str:
        """The family's name in storage keys, where a counter has no ``_total``."""
        return self.name.removesuffix("_total")

    @property
    def kind(self) -> str:
        """Kind of the pages that a merged family is recorded in."""
        return f"gauge_{self.mode}" if self.mode else self.type

    @property
    def sample_name(self) -> str:
        """The name of the value's sample in storage keys (not for histograms)."""
        return f"{self.storage_name}_total" if self.type == "counter" else self.name


HTTP_DURATION = Family(
    "gunicorn_http_request_duration_seconds",
    "histogram",
    ("method", "endpoint", "status"),
    "merged",
    "Time from a request's headers being read to the last byte of its response being written.",
    FINE_SECONDS,
)
HTTP_REQUEST_SIZE = Family(
    "gunicorn_http_request_size_bytes",
    "histogram",
    ("method", "endpoint"),
    "merged",
    "Body bytes really read from the request.",
    SIZE_BYTES,
)
HTTP_RESPONSE_SIZE = Family(
    "gunicorn_http_response_size_bytes",
    "histogram",
    ("method", "endpoint"),
    "merged",
    "Body bytes of the application's response that were really written.",
    SIZE_BYTES,
)
HTTP_QUEUE = Family(
    "gunicorn_http_request_queue_seconds",
    "histogram",
    (),
    "merged",
    "Time from a proxy's X-Request-Start or X-Queue-Start to the request's headers being read.",
    FINE_SECONDS,
)
HTTP_QUEUE_SKEWED = Family(
    "gunicorn_http_request_queue_skewed_total",
    "counter",
    (),
    "merged",
    "Requests whose proxy says that they came later than they were read, by a clock that is ahead "
    "of ours; they are in gunicorn_http_request_queue_seconds as 0.",
)
WORKER_REQUESTS = Family(
    "gunicorn_worker_requests_total",
    "counter",
    ("worker_id",),
    "derived",
    "Requests handled by this worker.",
)
WORKER_DURATION = Family(
    "gunicorn_worker_request_duration_seconds",
    "histogram",
    ("worker_id",),
    "derived",
    "Duration of the requests handled by this worker.",
    COARSE_SECONDS,
)
WORKER_REQUEST_SIZE = Family(
    "gunicorn_worker_request_size_bytes",
    "histogram",
    ("worker_id",),
    "derived",
    "Body bytes really read from the requests handled by this worker.",
    SIZE_BYTES,
)
WORKER_RESPONSE_SIZE = Family(
    "gunicorn_worker_response_size_bytes",
    "histogram",
    ("worker_id",),
    "derived",
    "Body bytes really written in the responses of this worker.",
    SIZE_BYTES,
)
WORKER_BUSY = Family(
    "gunicorn_worker_busy_seconds_total",
    "counter",
    ("worker_id",),
    "derived",
    "Time spent on requests, summed over concurrent ones; its rate divided by "
    "gunicorn_worker_capacity is the worker's utilisation.",
)
WORKER_FAILED = Family(
    "gunicorn_worker_failed_requests",
    "counter",
    ("worker_id", "method", "endpoint", "error_type"),
    "worker",
    "Requests that failed by an exception, whether it reached the worker or the framework answered "
    "it with an error of its own.",
)
WORKER_ERRORS = Family(
    "gunicorn_worker_error_handling",
    "counter",
    ("worker_id", "method", "endpoint", "error_type"),
    "worker",
    "Errors the worker answered in the application's place, requests it couldn't parse included.",
)
WORKER_IN_PROGRESS = Family(
    "gunicorn_worker_requests_in_progress",
    "gauge",
    ("worker_id",),
    "worker",
    "Requests this worker is handling now.",
)
WORKER_WEBSOCKETS = Family(
    "gunicorn_worker_websockets_total",
    "counter",
    ("worker_id", "endpoint", "outcome"),
    "worker",
    "WebSockets that were accepted, rejected, or failed before either; they are not requests.",
)
WORKER_WEBSOCKETS_OPEN = Family(
    "gunicorn_worker_websockets_open",
    "gauge",
    ("worker_id",),
    "worker",
    "WebSockets of this worker that are open now.",
)
WORKER_CAPACITY = Family(
    "gunicorn_worker_capacity",
    "gauge",
    ("worker_id",),
    "worker",
    "Requests this worker can handle at the same time; absent where nothing limits them.",
)
WORKER_THREAD_WAIT = Family(
    "gunicorn_worker_thread_wait_seconds",
    "histogram",
    (),
    "merged",
    "Time that connections on which something came waited for a free thread of a gthread worker.",
    FINE_SECONDS,
)
WORKER_BOOT = Family(
    "gunicorn_worker_boot_seconds",
    "gauge",
    ("worker_id",),
    "worker",
    "Time from the start of the worker process to its being ready, its application loaded.",
)
WORKER_HEARTBEAT = Family(
    "gunicorn_worker_heartbeat_age_seconds",
    "gauge",
    ("worker_id",),
    "worker",
    "Time since the worker last gave a sign of life, to within a second.",
)
WORKER_TIMEOUT = Family(
    "gunicorn_worker_timeout_seconds",
    "gauge",
    ("worker_id",),
    "worker",
    "Age of its heartbeat at which the master kills the worker; absent if it never does.",
)
WORKER_STATE = Family(
    "gunicorn_worker_state",
    "gauge",
    ("worker_id", "state", "timestamp"),
    "worker",
    "The worker's current state, 1 while its process lives and 0 afterwards; timestamp is the "
    "Unix time of the last change of state.",
)
WORKER_EXITS = Family(
    "gunicorn_worker_exits_total",
    "counter",
    ("worker_id", "cause"),
    "merged",
    "Worker processes that ended, by cause.",
)
WORKER_EXIT_TIME = Family(
    "gunicorn_worker_last_exit_timestamp_seconds",
    "gauge",
    ("worker_id", "cause"),
    "merged",
    "Unix time at which a worker process last ended for this cause.",
    mode="max",
)
WORKER_RESTARTS = Family(
    "gunicorn_worker_restart_total",
    "counter",
    ("worker_id", "reason"),
    "derived",
    "Worker processes that ended, by reason.",
)
WORKER_RESTART_COUNT = Family(
    "gunicorn_worker_restart_count_total",
    "counter",
    ("worker_id", "restart_type", "reason"),
    "derived",
    "Worker processes that ended, by type of restart and reason.",
)
MASTER_SIGNALS = Family(
    "gunicorn_master_worker_restart_total",
    "counter",
    ("reason",),
    "merged",
    "Signals the master has handled that start, end or renew workers or their logs, by signal.",
)
MASTER_SIGNAL_TIME = Family(
    "gunicorn_master_last_signal_timestamp_seconds",
    "gauge",
    ("reason",),
    "merged",
    "Unix time at which the master last handled this signal.",
    mode="max",
)
MASTER_RESTART_COUNT = Family(
    "gunicorn_master_worker_restart_count_total",
    "counter",
    ("worker_id", "reason", "restart_type"),
    "derived",
    "Worker processes whose end the master has seen, by worker, reason and type of restart.",
)
LISTENER_BACKLOG = Family(
    "gunicorn_listener_backlog",
    "gauge",
    ("listener",),
    "merged",
    "Connections that wait to be accepted, as the master saw it within the last second or so.",
    mode="livemax",  # of two masters in an upgrade both see the same
)
LISTENER_BACKLOG_LIMIT = Family(
    "gunicorn_listener_backlog_limit",
    "gauge",
    ("listener",),
    "merged",
    "Connections that can wait to be accepted; the system turns away those beyond.",
    mode="livemax",  # of two masters in an upgrade both see the same
)
DIRTY_WORKERS = Family(
    "gunicorn_dirty_workers",
    "gauge",
    (),
    "merged",
    "Dirty workers of Gunicorn 25 and later that are alive; absent where none are configured.",
    mode="livemax",  # of two masters in an upgrade both see the same
)
WORKERS = Family(
    "gunicorn_workers",
    "gauge",
    (),
    "derived",
    "Worker processes alive.",
)
WORKERS_TARGET = Family(
    "gunicorn_workers_target",
    "gauge",
    (),
    "merged",
    "Worker processes the master wants: as many as are configured, and as TTIN, TTOU and WINCH "
    "have changed that.",
    mode="livesum",
)
WORKER_UPTIME = Family(
    "gunicorn_worker_uptime_seconds",
    "gauge",
    ("worker_id",),
    "derived",
    "Time since the worker process began.",
)
WORKER_MEMORY = Family(
    "gunicorn_worker_memory_bytes",
    "gauge",
    ("worker_id",),
    "collected",
    "Resident memory of the worker process.",
)
WORKER_CPU = Family(
    "gunicorn_worker_cpu_percent",
    "gauge",
    ("worker_id",),
    "collected",
    "CPU use of the worker process since the scrape before, where 100 is one core.",
)
WORKER_THREADS = Family(
    "gunicorn_worker_threads",
    "gauge",
    ("worker_id",),
    "collected",
    "Native threads of the worker process.",
)
WORKER_OPEN_FDS = Family(
    "gunicorn_worker_open_fds",
    "gauge",
    ("worker_id",),
    "collected",
    "Open file descriptors of the worker process.",
)
EXPORTER_SCRAPES = Family(
    "gunicorn_exporter_scrapes_total",
    "counter",
    (),
    "merged",
    "Scrapes answered.",
)
EXPORTER_SCRAPE_ERRORS = Family(
    "gunicorn_exporter_scrape_errors_total",
    "counter",
    (),
    "merged",
    "Scrapes that failed.",
)
EXPORTER_SCRAPE_SECONDS = Family(
    "gunicorn_exporter_scrape_seconds_total",
    "counter",
    (),
    "merged",
    "Time spent on computing scrapes.",
)
EXPORTER_ANSWER_ERRORS = Family(
    "gunicorn_exporter_answer_errors_total",
    "counter",
    (),
    "merged",
    "Answers of the metrics server, other than scrapes, that failed by a defect.",
)
EXPORTER_COLLECTOR_ERRORS = Family(
    "gunicorn_exporter_collector_errors_total",
    "counter",
    ("collector",),
    "merged",
    "Scrapes in which a collector failed, and starts at which it could not be loaded.",
)
EXPORTER_KEYS_REJECTED = Family(
    "gunicorn_exporter_keys_rejected_total",
    "counter",
    (),
    "merged",
    "Stored series left out of scrapes because their key could not be understood.",
)
EXPORTER_QUARANTINED = Family(
    "gunicorn_exporter_pages_quarantined_total",
    "counter",
    (),
    "merged",
    "Pages found corrupt and set aside.",
)
EXPORTER_DROPPED = Family(
    "gunicorn_exporter_series_dropped_total",
    "counter",
    (),
    "merged",
    "Series that could not be stored for lack of space.",
)
EXPORTER_FOLDED = Family(
    "gunicorn_exporter_labels_folded_total",
    "counter",
    ("label",),
    "merged",
    "Requests that were counted as _other_, because a label has as many values as it may.",
)
EXPORTER_RECORDING_ERRORS = Family(
    "gunicorn_exporter_recording_errors_total",
    "counter",
    (),
    "merged",
    "Failures to record something; the request, or the master, was not affected.",
)
EXPORTER_SETTINGS_ERRORS = Family(
    "gunicorn_exporter_settings_errors_total",
    "counter",
    (),
    "merged",
    "Reloads at which the settings could not be used, and stayed as they were.",
)
EXPORTER_RESTARTS = Family(
    "gunicorn_exporter_restarts_total",
    "counter",
    (),
    "merged",
    "Times the exporter process ended unasked and was started again.",
)
EXPORTER_BIND_FAILURES = Family(
    "gunicorn_exporter_bind_failures_total",
    "counter",
    (),
    "merged",
    "Attempts at opening the metrics port that failed.",
)
EXPORTER_STORAGE_UP = Family(
    "gunicorn_exporter_storage_up",
    "gauge",
    (),
    "collected",
    "Whether the storage that hosts share took and gave what it was asked last, 1 or 0; while it "
    "is 0, other hosts' values are those that were collected last.",
)
EXPORTER_PUBLISHED = Family(
    "gunicorn_exporter_last_publish_timestamp_seconds",
    "gauge",
    (),
    "collected",
    "Unix time at which this host's values were last published to the storage that hosts share; "
    "0 before the first time.",
)
EXPORTER_PUBLISH_ERRORS = Family(
    "gunicorn_exporter_publish_errors_total",
    "counter",
    (),
    "merged",
    "Attempts at publishing to the storage that hosts share which failed.",
)
EXPORTER_COLLECT_ERRORS = Family(
    "gunicorn_exporter_collect_errors_total",
    "counter",
    (),
    "merged",
    "Attempts at collecting from the storage that hosts share which failed or took too long.",
)

EXPORTER_REFUSED = Family(
    "gunicorn_exporter_refused_total",
    "counter",
    ("reason",),
    "merged",
    "Clients of the metrics that were refused or given up on, by reason.",
)
EXPORTER_ACCESS_ERRORS = Family(
    "gunicorn_exporter_access_errors_total",
    "counter",
    (),
    "merged",
    "Times that changed certificates or users could not be used and the former stayed in force.",
)
SIDECAR_UPTIME = Family(
    "gunicorn_sidecar_uptime_seconds",
    "gauge",
    (),
    "collected",
    "Time since the sidecar began.",
)
SIDECAR_REDIS_CONNECTED = Family(
    "gunicorn_sidecar_redis_connected",
    "gauge",
    (),
    "collected",
    "Whether Redis took and gave what the sidecar asked last, 1 or 0; absent without Redis.",
)
SIDECAR_DIR_SIZE = Family(
    "gunicorn_sidecar_multiproc_dir_size_bytes",
    "gauge",
    (),
    "collected",
    "Size of the files in the directory of the pages that the sidecar reads.",
)
SIDECAR_FILES = Family(
    "gunicorn_sidecar_multiproc_files_count",
    "gauge",
    (),
    "collected",
    "Number of files in the directory of the pages that the sidecar reads.",
)

FAMILIES: tuple[Family, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Family)
)
BY_STORAGE_NAME = {family.storage_name: family for family in FAMILIES}

#: Families that every process keeps for itself: never merged, exposed with their worker's number.
PER_WORKER = frozenset(family.storage_name for family in FAMILIES if family.source == "worker")

#: ``restart_type`` of the documented restart families, by cause of the exit.
RESTART_TYPES = {
    "reload": "signal",
    "scale_down": "signal",
    "shutdown": "signal",
    "exit": "signal",
    "max_requests": "recycle",
    "timeout": "error",
    "killed": "error",
    "crash": "error",
    "boot_error": "error",
    "load_error": "error",
    "unknown": "error",
}
