# Stands for Redis' own image.
FROM localhost/services
CMD ["redis-server"]
