"""requests: pages of a server in another process are fetched and parsed with BeautifulSoup."""

import subprocess
import sys

from bs4 import BeautifulSoup

import requests

SERVER = """
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("<ul>" + "<li><a href='/x'>text</a></li>" * 600 + "</ul>").encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""
server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
port = int(server.stdout.readline())
pages = []
for number in range(25):
    text = requests.get(f"http://127.0.0.1:{port}/{number}", timeout=10).text
    pages.append(BeautifulSoup(text, "html.parser"))  # slowest, peak
server.terminate()
print(sum(len(page.find_all("a")) for page in pages))
