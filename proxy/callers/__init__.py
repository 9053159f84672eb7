"""Who asks, by key or token, what they may see (``caller``), and how much they may ask (``limiter``)."""
