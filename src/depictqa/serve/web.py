"""The web page: pictures and a question in, a streamed answer with its confidence out. It asks the controller.

    python -m depictqa.serve.web --cfg serve.yaml

`serve.page` says what is on it; here it is put on a port, with nothing else of this server in reach.
"""

import argparse
import asyncio
import logging
import time

from starlette.middleware import Middleware

from depictqa.config import load_serve_config
from depictqa.environment import prepare_page
from depictqa.errors import exit_cleanly
from depictqa.serve.keys import bearer, read_keys
from depictqa.serve.page.moderation import Moderation
from depictqa.serve.server import GRACE_SECONDS, StopSignals, bind, start_log

SESSIONS = 500  # browser tabs that Gradio keeps about 50 kB for; a tab that it forgot goes on as a new one
log = logging.getLogger("depictqa.web")


@exit_cleanly
def main() -> None:
    parser = argparse.ArgumentParser(description="The web page of the demo.")
    parser.add_argument("--cfg", default="serve.yaml", help="settings of the demo (default: serve.yaml here)")
    args = parser.parse_args()
    config = load_serve_config(args.cfg)
    settings = config.gradio
    prepare_page(settings.host, asks_outside=bool(settings.moderate or settings.share))

    from gradio.themes import Soft  # gradio reads the environment as it is imported

    from depictqa.serve.page.client import Client, HeldPictures
    from depictqa.serve.page.gate import Gate, routes
    from depictqa.serve.page.handlers import Handlers, Votes
    from depictqa.serve.page.layout import FONTS, STYLE, build_page

    moderation = Moderation.from_environment() if settings.moderate else None
    bind(
        settings.host, settings.port, "gradio.port"
    ).close()  # gradio binds the port itself, and reports a failure as a traceback
    start_log(config.log_dir, "web")
    pictures, votes = HeldPictures(), Votes(config.log_dir)
    slots = settings.concurrency_count
    asked = settings.controller_url, bearer(read_keys(settings.key_file, "gradio.key_file"))
    models, _ = asyncio.run(Handlers(Client(*asked), pictures, votes, slots).health())
    handlers = Handlers(Client(*asked), pictures, votes, slots, moderation)  # a client is of one event loop
    blocks = build_page(handlers, models, settings)
    asked_to_stop = StopSignals()
    blocks.queue(default_concurrency_limit=None).launch(  # the handlers have the limits
        server_name=settings.host,
        server_port=settings.port,
        share=settings.share,
        app_kwargs={"middleware": [Middleware(Gate)], "routes": routes(pictures)},
        theme=Soft(font=FONTS, font_mono=("ui-monospace", "monospace")),
        css=STYLE,
        footer_links=[],
        state_session_capacity=SESSIONS,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    log.info("the page is at http://%s:%s", settings.host, settings.port)
    asked_to_stop.wait()
    handlers.stopping = True
    end = time.monotonic() + GRACE_SECONDS
    while handlers.running and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)  # the last words are on their way
    blocks.close(verbose=False)


if __name__ == "__main__":
    main()
