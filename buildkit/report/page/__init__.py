"""The page: a report as one HTML file that needs no network, for a browser, an artifact of CI, or paper.

`document` makes plain JSON of a report, `build` puts it into the template with styles and scripts,
`commit_link` finds out where a commit can be looked at. The files of the page itself are in `assets`.
"""

from buildkit.report.page.build import build_page
from buildkit.report.page.commit_link import commit_url_of
from buildkit.report.page.document import page_document

__all__ = ["build_page", "commit_url_of", "page_document"]
