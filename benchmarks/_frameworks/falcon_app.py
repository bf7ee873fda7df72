import falcon


class Hello:
    def on_get(self, request, response):
        response.text = "Hello, world!\n"


app = falcon.App()
app.add_route("/", Hello())
