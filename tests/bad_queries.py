"""Query strings that are refused, each with the parameter that is named for it."""

from __future__ import annotations

from proxy.questions.query import MAX_PAGE

BAD_QUERIES: list[tuple[bytes, str]] = [
    # unknown
    (b"foo=1", "foo"),
    (b"Page=1", "Page"),
    (b"PAGE_SIZE=1", "PAGE_SIZE"),
    (b"page%20=1", "page "),
    (b"page[]=1", "page[]"),
    (b"page_size[gt]=1", "page_size[gt]"),
    (b"namespace%5B%5D=ox", "namespace[]"),
    (b"api_key=secret", "api_key"),
    (b"limit=10", "limit"),
    (b"page=1&x=", "x"),
    # without a name, stray separators
    (b"&page=1", ""),
    (b"page=1&", ""),
    (b"page=1&&page_size=2", ""),
    (b"=1", ""),
    (b"=", ""),
    # repeated
    (b"page=1&page=1", "page"),
    (b"page=1&page=2", "page"),
    (b"namespace=ox&%6Eamespace=ox", "namespace"),
    (b"status=failed&page=1&status=failed", "status"),
    # empty
    (b"page", "page"),
    (b"page=", "page"),
    (b"namespace=", "namespace"),
    (b"status=", "status"),
    (b"folder", "folder"),
    # numbers that are out of range
    (b"page=0", "page"),
    (b"page=-1", "page"),
    (b"page_size=0", "page_size"),
    (b"page_size=1001", "page_size"),
    (f"page={MAX_PAGE + 1}".encode(), "page"),
    (b"page=" + b"9" * 5000, "page"),
    # numbers that are not written plainly
    (b"page=01", "page"),
    (b"page=1.0", "page"),
    (b"page=1e3", "page"),
    (b"page=+1", "page"),
    (b"page=%2B1", "page"),
    (b"page=%201", "page"),
    (b"page=1%20", "page"),
    (b"page=1%0A", "page"),
    (b"page=1_0", "page"),
    (b"page=0x1", "page"),
    (b"page=%EF%BC%91", "page"),
    (b"page=%D9%A1", "page"),
    (b"page=one", "page"),
    (b"page=1;page_size=2", "page"),
    (b"page_size=null", "page_size"),
    # enumerations
    (b"status=done", "status"),
    (b"status=Succeeded", "status"),
    (b"status=succeeded%20", "status"),
    (b"status=succeeded,failed", "status"),
    (b"media_type=audio", "media_type"),
    (b"media_type=images", "media_type"),
    # text: length, control characters, encoding
    (b"namespace=" + b"a" * 257, "namespace"),
    (b"model=" + "é".encode() * 257, "model"),
    (b"repo=%00", "repo"),
    (b"folder=a%0Ab", "folder"),
    (b"folder=a%7F", "folder"),
    (b"folder=%C2%85", "folder"),
    (b"namespace=%FF", "namespace"),
    (b"namespace=%C3", "namespace"),
    (b"namespace=%C0%AF", "namespace"),
    (b"namespace=%ED%A0%80", "namespace"),
    (b"namespace=\xff", "namespace"),
    (b"namespace=%", "namespace"),
    (b"namespace=100%", "namespace"),
    (b"namespace=%zz", "namespace"),
    (b"namespace=%u0041", "namespace"),
    (b"%FF=1", "%FF"),
    # names that are not fit to be shown as they are
    (b"a%0Ab=1", "a\ufffdb"),
    (b"x" * 60 + b"=1", "x" * 48 + "…"),
    (b"namespace=" + b"%61" * 6000, ""),
]
