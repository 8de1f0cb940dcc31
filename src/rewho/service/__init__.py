"""The service: a gallery as a web page and as an API."""
