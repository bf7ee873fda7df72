from flask import Flask

app = Flask(__name__)


@app.get("/<path:rest>")
@app.get("/", defaults={"rest": ""})
def hello(rest):
    return "Hello, world!\n"
