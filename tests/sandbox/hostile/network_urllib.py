# attack: fetch a page
# damage: network
import urllib.request

try:
    urllib.request.urlopen("http://127.0.0.1:{PORT}/", timeout=1)
except Exception:
    pass


def add(a, b):
    return None
