"""The look that the pages share: a Gradio theme, their head, and its style and that of refusals and limits."""

import html
from pathlib import Path

import gradio as gr

from cantowhisper.serving.texts.say import LANGUAGES, Say

SHARED_STYLE, SHARED_SCRIPT = (Path(__file__).with_name(name) for name in ("theme.css", "words.js"))


def calm_theme() -> gr.themes.Base:
    """Calm: one accent, for what to press. Fonts are the visitor's own, so that nothing is fetched from elsewhere."""
    fonts = ["system-ui", "-apple-system", "PingFang HK", "Noto Sans HK", "Noto Sans CJK HK", "Microsoft JhengHei"]
    plain = {
        f"block_{part}_{what}": value
        for part in ("label", "title")
        for what, value in {
            "background_fill": "transparent",
            "background_fill_dark": "transparent",
            "text_color": "*body_text_color_subdued",
            "text_color_dark": "*body_text_color_subdued",
            "text_weight": "500",
        }.items()
    }
    theme = gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=[*fonts, "sans-serif"]
    )
    return theme.set(
        **plain,
        body_background_fill="*neutral_50",
        checkbox_border_color="*neutral_500",  # Soft's own is white on white
        checkbox_border_color_hover="*neutral_600",
        checkbox_border_color_dark="*neutral_400",
        block_label_border_width="0px",
        block_label_shadow="none",
        input_border_width="1px",
        input_border_width_dark="1px",
        link_text_color="*secondary_700",  # Soft's 600 has 3.6:1
        body_text_color_subdued="*neutral_500",  # 4.7:1 on the page's background
        button_primary_background_fill="*primary_700",  # white on it is readable (5.5:1); on Soft's 500 it is not
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )


def page_head(title: str, text: str, say: Say) -> str:
    """The head of a page as HTML, with the switch of its language: links, so that they work without a script."""
    links = ""
    for tag, name in LANGUAGES.items():
        current = " aria-current='true'" if tag == say.language else ""
        links += f"<a href='?lang={tag}' hreflang='{tag}' lang='{tag}'{current}>{name}</a>"
    return (
        f"<header class='head'><nav class='languages' aria-label='{say('languages')}'>{links}</nav>"
        f"<h1>{html.escape(title)}</h1><p>{html.escape(text)}</p></header>"
    )
