"""An application whose workers can be made to take more memory than there is."""

EATEN = []


def app(environ, start_response):
    if environ["PATH_INFO"] == "/eat":
        while True:
            EATEN.append(bytearray(16 << 20))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
