"""Every benchmark, one after another: `make bench`."""

import subprocess
import sys

if __name__ == "__main__":
    for name in ("engine", "wire", "report", "gateway", "fresh"):
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}", "--out", "bench/figures.json"]
        subprocess.run([*command, *sys.argv[1:]], check=True)
