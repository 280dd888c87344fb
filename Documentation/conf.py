# SPDX-License-Identifier: GPL-2.0
"""Sphinx: no extensions, nothing but what the files say."""

project = "kvm-pmu"
copyright = "the kvm-pmu authors"   # pylint: disable=redefined-builtin
source_suffix = ".rst"
master_doc = "index"
html_theme = "alabaster"
exclude_patterns = ["_build"]
