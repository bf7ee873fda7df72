from bottle import Bottle

app = Bottle()


@app.get("/<rest:re:.*>")
def hello(rest):
    return "Hello, world!\n"
