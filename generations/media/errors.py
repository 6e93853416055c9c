"""Why a file is not taken: one class per reason, each with its stable code and its sentence."""

from __future__ import annotations

from typing import ClassVar

from mayagen.common.errors import DomainError


class MediaError(DomainError):
    """The bytes are not an image that MayaGen keeps; nothing was stored."""

    code: ClassVar[str] = "media_invalid"
    sentence: ClassVar[str] = "The file is not an image that can be used."


class MediaEmptyError(MediaError):
    """There are no bytes."""

    code = "media_empty"
    sentence = "The file is empty."


class MediaNotAnImageError(MediaError):
    """No accepted format begins like this."""

    code = "media_not_an_image"
    sentence = "The file is not an image of an accepted format (PNG, JPEG, WebP, or GIF without animation)."


class MediaTruncatedError(MediaError):
    """The file ends too early, or its data are damaged."""

    code = "media_truncated"
    sentence = "The image is incomplete or damaged."


class MediaTooLargeError(MediaError):
    """More bytes than allowed."""

    code = "media_too_large"
    status = 413
    sentence = "The file is larger than allowed."


class MediaTooManyPixelsError(MediaError):
    """The header announces more pixels than allowed; none was decoded."""

    code = "media_too_many_pixels"
    sentence = "The image has more pixels, or a longer side, than allowed."


class MediaAnimatedError(MediaError):
    """There is more than one frame."""

    code = "media_animated"
    sentence = "Animated images are not accepted."


class MediaTooComplexError(MediaError):
    """A small file that unpacks to something large, or that takes absurdly long to decode."""

    code = "media_too_complex"
    sentence = "The image unpacks to far more than it should; it is not decoded."


class MediaTypeMismatchError(MediaError):
    """The declared type is not the real one."""

    code = "media_type_mismatch"
    sentence = "The file is not of the type that it claims to be."
