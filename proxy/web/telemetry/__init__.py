"""One ``event`` for each request, and what is made of it: metrics, spans, samples for the status page."""
