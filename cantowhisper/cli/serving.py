"""The command `serve`."""

import argparse


def add_serve(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("serve", help="open a web page")
    pages = command.add_subparsers(metavar="PAGE", required=True, dest="page", parser_class=_PageParser)
    pages.add_parser("offline", help="files and the microphone")
    pages.add_parser("online", help="live")
    command.set_defaults(run=run_serve)
    return command


class _PageParser(argparse.ArgumentParser):
    """Options of a page, one for each of its limits; read from `serving` only when a page is asked for."""

    def parse_known_args(self, args=None, namespace=None):
        from cantowhisper.serving.web.settings import add_serve_options

        if "--model" not in self._option_string_actions:
            page = self.prog.split()[-1]
            self.add_argument("--model", required=True, help="model folder or Hub id")
            if page == "offline":
                self.add_argument("--base", help="model before fine-tuning, to compare with")
            add_serve_options(self, _limits(page))
            self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        return super().parse_known_args(args, namespace)


def _limits(page: str) -> type:
    if page == "offline":
        from cantowhisper.serving.offline.limits import Limits

        return Limits
    from cantowhisper.serving.live.limits import LiveLimits

    return LiveLimits


def run_serve(arguments) -> None:
    from cantowhisper.repository import load_page
    from cantowhisper.serving.web.settings import page_options

    load_page(arguments.page).main(**page_options(arguments, _limits(arguments.page)))
