"""Add the page to the app of the TCP listener."""

from fastapi import FastAPI

from greenrun.api.service import Service
from greenrun.web import assets
from greenrun.web.page_state import PageState
from greenrun.web.pages import devices_page, grid_page, job_page, jobs_page, now_page, reports_page

_PARTS = (assets, now_page, jobs_page, job_page, grid_page, devices_page, reports_page)


def add_page(app: FastAPI) -> FastAPI:
    """Serve the page beside what this app serves, and return it; templates are loaded when somebody looks."""
    service: Service = app.state.service
    app.state.page = PageState.by(service)
    app.router.routes.extend(route for part in _PARTS for route in part.router.routes)
    return app
