"""The HTML report and the notebook in headless Chromium: `make test-browser`."""
