"""What every answer of the page tells the browser: to load nothing from elsewhere, and to run no script but ours."""

from starlette.responses import Response

# Of the one style element that Plotly's maps add when its script is loaded; a test computes it from that script.
PLOTLY_STYLE = "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o="


def policy(nonce: str) -> str:
    """Return the content security policy of a page, whose own style elements carry the nonce."""
    return (
        "default-src 'none'; script-src 'self'; "
        f"style-src 'self' 'nonce-{nonce}' '{PLOTLY_STYLE}'; "
        "img-src 'self' data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )


def secure(response: Response, nonce: str) -> Response:
    """Add the headers to an answer, and return it."""
    response.headers["Content-Security-Policy"] = policy(nonce)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
