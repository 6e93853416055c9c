"""Which providers there are; a new one is a module beside this one and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import aiohttp

from generations.providers.base import JobProvider, Provider, ProviderConfig
from generations.providers.embedded import EmbeddedProvider
from generations.providers.fal import FalProvider
from generations.providers.openai import AzureOpenAIProvider, OpenAIProvider
from generations.providers.replicate import ReplicateProvider

ProviderFactory = Callable[[ProviderConfig, aiohttp.ClientSession], Provider | JobProvider]

PROVIDERS: Final[Mapping[str, ProviderFactory]] = MappingProxyType(
    {
        "embedded": EmbeddedProvider,
        "openai": OpenAIProvider,
        "azure_openai": AzureOpenAIProvider,
        "fal": FalProvider,
        "replicate": ReplicateProvider,
    }
)


class UnknownProviderError(LookupError):
    """No adapter has this name."""


def create_provider(
    name: str, config: ProviderConfig, session: aiohttp.ClientSession
) -> Provider | JobProvider:
    """Return the adapter of this name, ready to be called.

    Raises:
        UnknownProviderError: If there is no adapter of this name.
        ProviderError: With code `configuration`, if the adapter cannot work with this configuration.
    """
    try:
        factory = PROVIDERS[name]
    except KeyError:
        raise UnknownProviderError(f"There is no provider named {name!r}.") from None
    return factory(config, session)
