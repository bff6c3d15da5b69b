"""The server: OpenAI's API over the engine, and the page. Needs the extra `serve`; nothing below imports from here."""
