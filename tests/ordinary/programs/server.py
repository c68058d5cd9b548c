"""Flask: a server under the load of 120 requests of eight clients, which are processes of their own."""

import subprocess
import sys
import threading

from flask import Flask, jsonify
from werkzeug.serving import make_server

CLIENT = """
import concurrent.futures, sys, urllib.request
def ask(number):
    return urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/report/{number % 20}").read()
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(ask, range(120)))
"""
app = Flask(__name__)
cache = {}


@app.route("/report/<int:number>")
def report(number):
    if number not in cache:
        cache[number] = "line\n" * 400_000  # peak
    words = cache[number].count("line")
    total = sum(len(str(n)) for n in range(40_000))  # slowest
    return jsonify(words=words, total=total)


server = make_server("127.0.0.1", 0, app, threaded=True)
thread = threading.Thread(target=server.serve_forever)
thread.start()
subprocess.run([sys.executable, "-c", CLIENT, str(server.port)], check=True)
server.shutdown()
thread.join()
print(len(cache))
