"""A real HTTP server in OpenAI's form that misbehaves as told, on 127.0.0.1.

What it does for an item follows from a script: item -> list of behaviours, one for each call, the last repeated.
The item is the last word of the question, unless `item_of` tells it from the request's body.
"""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def last_word(body: dict) -> str:
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    return text.split()[-1]


class ChatServer:
    """`answer` is the text of a good answer, or a function from the request's body to it.

    Attributes: `calls` (item -> calls received), `completed` (item -> answers that went out), `bodies`; `held`, how many
    calls the behaviour "hold" keeps unanswered. Leaving the context hangs up on them.
    """

    def __init__(self, script=None, default=("ok",), answer="8 9\nGood.", delay=0.0, item_of=last_word):
        self.script, self.default, self.answer, self.delay, self.item_of = script or {}, default, answer, delay, item_of
        self.calls, self.completed = Counter(), Counter()
        self.bodies, self.headers = [], []
        self.held, self.leaving = 0, threading.Event()
        self.busy, self.most_busy = 0, 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.handle(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # of 5, the default, a burst of calls loses some, which then wait for a second

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.leaving.set()
        self.server.shutdown()
        self.server.server_close()

    def handle(self, http):
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        item = self.item_of(body)
        with self.lock:
            behaviours = self.script.get(item, self.default)
            behaviour = behaviours[min(self.calls[item], len(behaviours) - 1)]
            self.calls[item] += 1
            self.bodies.append(body)
            self.headers.append({name.lower(): value for name, value in http.headers.items()})
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        try:
            time.sleep(self.delay)
            self.behave(http, body, item, behaviour)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.lock:
                self.busy -= 1

    def behave(self, http, body, item, behaviour):
        kind, _, argument = behaviour.partition(":")
        if kind == "hold":
            with self.lock:
                self.held += 1
            self.leaving.wait()
            http.close_connection = True
        elif kind == "drop":
            http.close_connection = True
        elif kind == "badjson":
            self.send(http, 200, b'{"choices": [{"mess')
        elif kind == "html":
            self.send(http, 200, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
        elif kind == "429":
            self.error(http, 429, "slow down", "rate_limit_exceeded", {"Retry-After": argument or "0.2"})
        elif kind == "old_field" and "max_tokens" in body:
            self.error(http, 400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", None)
        elif kind.isdigit():
            self.error(http, int(kind), f"error {kind}", argument or None)
        else:
            answer = self.answer(body) if callable(self.answer) else self.answer
            self.complete(http, item, kind, argument or answer)

    def complete(self, http, item, kind, answer):
        message, finish = {"role": "assistant", "content": answer}, "stop"
        if kind == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        elif kind == "filter":
            message["content"], finish = None, "content_filter"
        elif kind == "cut":
            finish = "length"
        elif kind == "empty":
            message["content"] = ""
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        completion = {
            "id": item,
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        with self.lock:
            self.completed[item] += 1  # before: whoever has the answer may look here at once
        self.send(http, 200, json.dumps(completion).encode())

    def error(self, http, status, message, code, headers=None):
        body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
        self.send(http, status, json.dumps(body).encode(), headers)

    def send(self, http, status, payload, headers=None):
        http.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(payload))} | (headers or {})
        for name, value in headers.items():
            http.send_header(name, value)
        http.end_headers()
        http.wfile.write(payload)
        http.wfile.flush()
