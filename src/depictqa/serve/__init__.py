"""The demo and the HTTP API: a controller, any number of workers, a web page. Only the workers hold a model."""
