"""Who asks over TCP: tickets that become sessions of browsers, tokens of programs, and what keeps others out.

Over the unix socket the kernel says who asks. Over TCP a request shows a credential: the cookie of a session, or
`Authorization: Bearer TOKEN`. `Gate` looks at it before any route does, and answers by itself whatever may not go on:

- under `/v1` nobody is answered who is not known (401);
- a token of the scope `read` changes nothing (403);
- a request that changes something and shows a cookie needs the session's CSRF token, in the header `X-CSRF-Token`
  or as the field `csrf_token` of a form, and an `Origin` and `Sec-Fetch-Site` (where sent) that are this very address.

For whoever writes routes or pages:

- `Caller` and `Visitor` of `greenrun.api.identity` work over TCP as they do on the socket. `Visitor` is None for who
  is not known; what is shown to those is what /metrics shows (`greenrun.core.jobs.access.ANYBODY`).
- `csrf_token(request)` of this package is the CSRF token to put into a page, None where there is no session (nobody
  is signed in, a token is used, or it is the socket). Put it in `<meta name="csrf-token" content="...">`, and send it
  back as `X-CSRF-Token` with each POST. It lasts as long as the session and is not stored anywhere.
- `viewer.credential` is the credential that was shown, None on the socket; `viewer.is_program` says that it was a
  token, `viewer.is_limited` that it does not carry its user's right to act on all jobs.
- `POST /sign-out` ends the session: 303 to `/`, without the cookie. `GET /sign-in?ticket=` begins one; `greenrun web`
  has the ticket. Both are served over TCP alone. `GET /v1/caller` says who one is, with the CSRF token.
- A page whose session is over gets 401 under `/v1`: say "run `greenrun web` again", and show what a visitor sees.

The ticket is in the query, not in the fragment: it then works without scripts, in any browser and with curl. It opens
nothing afterwards: it is used up by the first request and answered with a redirect, so that the address bar does not
keep it; the access log has no queries, and `Referrer-Policy: no-referrer` tells it to nobody. A request that another
site caused, or that only fetches ahead, does not use it.
"""

from greenrun.api.sign_in.shown import csrf_token

__all__ = ["csrf_token"]
