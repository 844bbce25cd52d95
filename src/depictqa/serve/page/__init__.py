"""The web page: its layout, its scripts and styles, what happens when people press buttons. `serve.web` starts it."""
