"""A person with a browser: opens an address, logs in at the EHR, chooses a patient, and stops where the app would be."""

import html.parser
import urllib.parse

import requests


class Page(html.parser.HTMLParser):
    """The first form of a page: where it goes, and what it carries."""

    def __init__(self, text):
        super().__init__()
        self.action, self.hidden, self.names = None, {}, set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.action = attrs["action"]
        elif tag == "input":
            self.names.add(attrs["name"])
            if attrs.get("type") == "hidden":
                self.hidden[attrs["name"]] = attrs["value"]


def visit(address, redirect_uri, login, password, patient):
    """Goes on from `address` until the app's own address, which is returned with its parameters."""
    browser = requests.Session()
    answer = browser.get(address, allow_redirects=False)
    for _ in range(20):
        if answer.is_redirect:
            target = urllib.parse.urljoin(answer.url, answer.headers["location"])
            if target.startswith(redirect_uri):
                return target
            answer = browser.get(target, allow_redirects=False)
            continue
        page = Page(answer.text)
        if page.action is None:
            raise SystemExit(f"{answer.url} answered {answer.status_code}: {answer.text}")
        fields = {"login": login, "password": password, "patient": patient, "decision": "allow"}
        form = page.hidden | {name: value for name, value in fields.items() if name in page.names}
        action = urllib.parse.urljoin(answer.url, page.action)
        answer = browser.post(action, data=form | {"decision": "allow"}, allow_redirects=False)
    raise SystemExit("more than twenty steps")
