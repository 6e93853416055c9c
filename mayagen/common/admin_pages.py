"""What pages of our own need that stand among the theme's."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest


def head_page(request: HttpRequest, title: str, *, site: admin.AdminSite = admin.site) -> dict[str, Any]:
    """Return what the theme needs to frame a page, under a heading that ends with its title."""
    return {**site.each_context(request), "title": title, "content_title": title}
