"""What the tests of reports share: a report taken apart as a browser does, and its notes decoded."""
import base64
import hashlib
import html.parser
import json


class Parts(html.parser.HTMLParser):
    """The elements that matter: tags in order, texts of style and script, and the policy."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.policy, self.inside = [], {}, "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "meta" and attrs.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = attrs["content"]
        self.inside = "data" if attrs.get("id") == "data" else tag if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def read_report(path):
    """(the data, the parts) of a report; what every report must be is looked at."""
    parts = Parts(path.read_text(encoding="utf-8"))
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parts.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in parts.policy
    assert parts.policy.startswith("default-src 'none';") and "unsafe" not in parts.policy and "http" not in parts.policy
    assert [attrs for tag, attrs in parts.tags if tag == "script"] == [{"type": "application/json", "id": "data"}, {}]
    assert not any(key in ("src", "href", "style") or key.startswith("on") for tag, attrs in parts.tags for key in attrs
                   if attrs.get("class") != "skip")
    assert not set("<>&\u2028\u2029") & set(parts.texts["data"])
    return json.loads(parts.texts["data"]), parts


def notes_of(piece):
    """[(start, length, pitch, voice, velocity)] of a stored piece, as the page decodes it."""
    stored, at, out = base64.b64decode(piece["notes"]), 0, []
    start = voice = velocity = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = stored[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(stored):
        start += varint()
        length = varint() * 10
        pitch = stored[at]
        at += 1
        if pitch & 128:
            voice, velocity = varint(), stored[at]
            at += 1
        out.append((start, length, pitch & 127, voice, velocity))
    return out


def lit_of(match, side, n):
    """Which of n notes are lit: side 0: of the query, 1: of the match."""
    stored = base64.b64decode(match["lit"][side])
    return [i for i in range(n) if stored[i // 8] >> i % 8 & 1]
