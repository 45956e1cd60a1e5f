"""The local screen: a script of Streamlit over a running server. `python -m ui streamlit` runs it."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Streamlit puts the script's own folder there
import streamlit as st  # noqa: E402

from imagetrust.limits import MAX_BYTES  # noqa: E402
from ui import exports, fragments, words  # noqa: E402
from ui.checking import Checked, Checker  # noqa: E402
from ui.settings import read_settings  # noqa: E402

MAX_PICTURES = 200
_AT_ONCE = 3
_ORDERS = {
    "as they came": None,
    "verdict": lambda checked: fragments.VERDICT_ORDER[fragments.key(checked)],
    "probability, highest first": lambda checked: -fragments.probability(checked),
    "probability, lowest first": lambda checked: fragments.probability(checked),
    "name": lambda checked: checked.name.lower(),
}


@st.cache_resource
def checker() -> Checker:
    """Return what asks the server, one for all who look at this screen."""
    return read_settings().checker()


# Streamlit's field takes what is dropped or chosen; this hands it what is pasted.
_PASTE = """
export default function () {
  const paste = (event) => {
    const files = event.clipboardData.files, input = document.querySelector("input[type=file]");
    if (!files.length || !input) return;
    event.preventDefault();
    const given = new DataTransfer();
    for (const file of files) given.items.add(file);
    input.files = given.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
"""


@st.cache_resource
def paste_listener() -> Callable[..., object]:
    """Return what lets the page take pictures from the clipboard."""
    return st.components.v2.component("imagetrust_paste", html="<span></span>", js=_PASTE)


def show(html: str) -> None:
    """Put HTML on the page."""
    st.html(f'<div class="it-page it-part">{html}</div>')


def check_new(files: list, results: dict[str, Checked]) -> None:
    """Ask about the files that have no result yet, several at once, and say how far it is."""
    waiting = [file for file in files if file.file_id not in results]
    if not waiting:
        return
    bar = st.progress(0.0, f"Checking {len(waiting)} …")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = {pool.submit(checker().check, file.name[:200], file.getvalue()): file for file in waiting}
        for done, future in enumerate(as_completed(asked), start=1):
            results[asked[future].file_id] = future.result()
            bar.progress(done / len(waiting), f"{done} of {len(waiting)} checked")
    bar.empty()


def show_table(results: list[Checked]) -> list[Checked]:
    """Show what sorts, filters and saves several results, and the table; return those shown."""
    order, verdict, name = st.columns(3)
    chosen_order = order.selectbox("Order by", list(_ORDERS))
    verdicts = words.SHORT_VERDICTS | {"failed": "no answer"}
    chosen = verdict.multiselect("Verdict", list(verdicts), format_func=verdicts.__getitem__, placeholder="all")
    part = name.text_input("Name holds").lower()
    shown = [
        checked
        for checked in results
        if part in checked.name.lower() and (not chosen or fragments.key(checked) in chosen)
    ]
    if (sort_by := _ORDERS[chosen_order]) is not None:
        shown.sort(key=sort_by)
    show(
        '<section class="it-card" aria-label="All pictures">'
        + fragments.table(
            [fragments.row(checked, number, is_button=False) for number, checked in enumerate(shown)], False
        )
        + f'<p class="it-soft">{len(shown)} of {len(results)} shown</p></section>'
    )
    csv, json, again, _ = st.columns([1, 1, 1.3, 1])
    csv.download_button(
        "Save as CSV", exports.as_csv(results).encode(), "imagetrust.csv", "text/csv", on_click="ignore"
    )
    json.download_button(
        "Save as JSON", exports.as_json(results), "imagetrust.json", "application/json", on_click="ignore"
    )
    if any(checked.fault for checked in results) and again.button("Try failed ones again"):
        kept = st.session_state.results
        st.session_state.results = {key: checked for key, checked in kept.items() if checked.answer}
        st.rerun()
    return shown


def main() -> None:
    """Draw the page, anew after each thing that a person does."""
    st.set_page_config(page_title=words.NAME, layout="centered", initial_sidebar_state="collapsed")
    st.html(f"<style>{fragments.style()}{_STREAMLIT_STYLE}</style>")
    show(fragments.heading())
    if "results" not in st.session_state:
        st.session_state.results = {}
        st.session_state.addresses = {}
    files = st.file_uploader(
        f"Drop, paste or choose pictures, up to {MAX_BYTES // 2**20} MiB each", accept_multiple_files=True
    )
    if checker().fetches:
        with st.form("address", clear_on_submit=True, border=False):
            url = st.text_input("or the address of a picture on the web", placeholder="https://")
            if st.form_submit_button("Fetch and check") and url.strip():
                st.session_state.addresses[url.strip()] = checker().check_address(url.strip())
    if len(files) > MAX_PICTURES:
        st.warning(f"Only the first {MAX_PICTURES} of {len(files)} pictures are taken.")
        files = files[:MAX_PICTURES]
    kept: dict[str, Checked] = st.session_state.results
    check_new(files, kept)
    # What was taken off the list is forgotten.
    st.session_state.results = {file.file_id: kept[file.file_id] for file in files}
    results = [*st.session_state.results.values(), *st.session_state.addresses.values()]
    if not results:
        if told := checker().problem():
            show(fragments.banner(told))
    elif len(results) == 1:
        show_one(results[0])
    else:
        shown = show_table(results)
        if shown:
            number = st.selectbox("Show", range(len(shown)), format_func=lambda number: shown[number].name)
            show_one(shown[number])
    show(f'<p class="it-foot">{words.KEPT}</p>')
    paste_listener()()


def show_one(checked: Checked) -> None:
    """Show all of one result, with a slider for its heat map."""
    show(f'<p class="it-hidden" role="status">{escape(fragments.said(checked))}</p>')
    left, _ = st.columns(2)
    heat = left.slider("Heat map", 0, 100, 60, 5, format="%d %%") if checked.copies else 60
    show(fragments.detail(checked, heat, has_slider=False))


# Streamlit's own frame around the page.
_STREAMLIT_STYLE = """
.stApp { background: var(--it-page); }
.stMainBlockContainer { max-width: 1112px; padding: 0 16px 32px; }
.it-part { padding: 0; }
"""

main()
