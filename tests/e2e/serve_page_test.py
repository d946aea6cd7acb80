"""The page that `ddpm serve` shows, driven by Chromium: serve_page_test.py DDPM NPM. Skips (77) where there is no
Chromium, or the page's packages were not fetched."""
import os
import subprocess
import sys

import program
import serve_uploads_test
import web_test


class PageTest(serve_uploads_test.ServeTest):
    def test_the_studio(self):
        server = self.serve()
        environment = {**os.environ, "DDPM_SERVER": f"http://127.0.0.1:{server.port}",
                       "DDPM_SERVER_PID": str(server.process.pid), "DDPM_KEY": serve_uploads_test.KEY}
        run = subprocess.run([NPM, "run", "e2e:server"], cwd=web_test.WEB, env=environment, timeout=300)
        self.assertEqual(run.returncode, 0, server.log.read_text()[-3000:])


if __name__ == "__main__":
    NPM = sys.argv.pop(2)
    web_test.check_packages()
    web_test.check_browser()
    program.main()
