"""The modules whose pages are rendered by default: present on every Python from 3.11 on, and silent about the machine.

Left out are those whose pages come from it (os, sys, site, sysconfig, platform, …), need a display or a terminal, or act on import.
"""

MODULES: tuple[str, ...] = tuple(
    """
    abc argparse array asyncio asyncio.tasks atexit base64 binascii bisect bz2 calendar cmd code codecs
    collections collections.abc colorsys concurrent.futures configparser contextlib contextvars copy csv
    dataclasses datetime decimal difflib dis doctest email email.message email.parser email.utils enum
    faulthandler filecmp fileinput fnmatch fractions ftplib functools gc getopt gettext glob graphlib gzip hashlib
    heapq hmac html html.parser http http.client http.cookiejar http.cookies http.server importlib
    importlib.metadata importlib.util inspect io ipaddress itertools json keyword locale logging logging.config
    logging.handlers lzma math mimetypes mmap multiprocessing multiprocessing.pool netrc numbers operator optparse
    pathlib pdb pickle pkgutil plistlib poplib pprint pstats queue random re runpy sched secrets select selectors
    shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl stat statistics string struct subprocess
    tarfile tempfile textwrap threading time timeit token tokenize tomllib trace traceback types typing
    unicodedata unittest unittest.mock urllib.parse urllib.request urllib.robotparser uuid warnings wave weakref
    webbrowser xml.dom.minidom xml.etree.ElementTree xml.sax zipapp zipfile zlib zoneinfo
    """.split()
)
