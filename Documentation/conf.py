# SPDX-License-Identifier: GPL-2.0
"""Sphinx: no extensions, nothing but what the files say."""

project = "kvm-pmu"
copyright = "the kvm-pmu authors"   # pylint: disable=redefined-builtin
source_suffix = ".rst"
master_doc = "index"
# Literal blocks are drawings, commands and what they print.
highlight_language = "none"
html_theme = "alabaster"
# Wide enough for 90 columns of a literal block beside the list of pages.
html_theme_options = {"page_width": "1120px", "body_max_width": "none"}
html_static_path = ["static"]
exclude_patterns = ["_build"]
