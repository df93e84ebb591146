"""The page for recordings as Gradio alone would serve it, to show that the attempts would reach their aim."""

import sys

from cantowhisper.repository import load_page
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.recognizer import Recognizer

if __name__ == "__main__":
    model, port = sys.argv[1:]
    app, service = load_page("offline"), Service(Recognizer.open(model, threads=1))
    options = {**app.launch_options(service), "app_kwargs": {}}
    app.build_page(service, examples=[]).launch(server_name="0.0.0.0", server_port=int(port), quiet=True, **options)
