#!/usr/bin/env python3
"""Takes a picture of a dashboard, for the documentation or to look at it.

picture.py URL FILE.png [--dark] [--width 1280] [--height 980] [--scroll PIXELS] [--after SECONDS]

The charts fill while it waits.  Needs a Chromium: ./dev test dashboard fetches one into build/tools/bin.
"""
import argparse
import time

import chromium

parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("file")
parser.add_argument("--dark", action="store_true")
parser.add_argument("--width", type=int, default=1280)
parser.add_argument("--height", type=int, default=980)
parser.add_argument("--scroll", type=int, default=0)
parser.add_argument("--after", type=float, default=5)
args = parser.parse_args()

browser = chromium.Browser()
try:
    browser.size(args.width, args.height, mobile=args.width < 768)
    browser.dark(args.dark)
    browser.open(args.url)
    time.sleep(args.after)
    browser.run(f"scrollTo(0, {args.scroll})")
    time.sleep(0.2)
    browser.picture(args.file, whole=False)
    for error in browser.errors:
        print(error)
finally:
    browser.close()
