"""NGINX: it passes each request to us first, and we tell it where the request goes from here."""
