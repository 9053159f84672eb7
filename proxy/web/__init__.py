"""The callers' side: HTTP in, HTTP out. Only this package and ``app`` know Litestar."""
