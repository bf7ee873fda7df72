from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.get("/{rest:path}", response_class=PlainTextResponse)
async def hello(rest: str):
    return "Hello, world!\n"
