# Stands for Prometheus' own image.
FROM localhost/services
RUN install -d -o 65534 -g 65534 /prometheus
USER 65534
ENTRYPOINT ["/usr/bin/prometheus"]
