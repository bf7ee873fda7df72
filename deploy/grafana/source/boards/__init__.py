"""The dashboards, each as plain data."""

from boards import exporter, lifecycle, overview, routes, workers

BOARDS = (overview.BOARD, workers.BOARD, routes.BOARD, lifecycle.BOARD, exporter.BOARD)
