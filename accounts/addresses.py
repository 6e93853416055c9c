"""Where a request comes from, as far as our own proxies can be trusted to say."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest


def get_client_address(request: HttpRequest) -> str | None:
    """Return the visitor's IP address, or None when there is none to know.

    `X-Forwarded-For` counts only as far as proxies of our own wrote it: with N of them in front, the Nth
    entry from the right. Everything left of it is the visitor's own invention.
    """
    n_proxies: int = settings.ALLAUTH_TRUSTED_PROXY_COUNT
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    if n_proxies and len(entries) >= n_proxies and (address := _parse(entries[-n_proxies])):
        return address
    return _parse(request.META.get("REMOTE_ADDR", ""))


def get_network(address: str | None) -> str:
    """Return what one visitor cannot change at will: an IPv4 address, or the /64 of an IPv6 one."""
    if address is None:
        return "unknown"
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False).network_address)
    return str(ip)


def _parse(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text.strip().partition("%")[0]))
    except ValueError:
        return None
