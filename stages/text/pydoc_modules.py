"""The modules whose pages are rendered by default: present on every Python from 3.11 on, and silent about the machine.

Left out are those whose pages come from it (os, sys, site, sysconfig, platform, …), need a display or a terminal, or act on import.
"""

MODULES: tuple[str, ...] = tuple(
    """
    abc argparse array asyncio.tasks atexit base64 binascii bisect bz2 calendar cmd code codecs collections
    collections.abc colorsys concurrent.futures configparser contextlib contextvars copy csv dataclasses datetime
    difflib dis doctest email email.message email.parser email.utils enum faulthandler filecmp fileinput fnmatch
    fractions ftplib functools gc getopt gettext glob graphlib gzip hashlib heapq hmac html html.parser http
    http.client http.cookiejar http.cookies importlib importlib.metadata importlib.util inspect itertools json
    keyword locale logging logging.config lzma math mimetypes mmap multiprocessing multiprocessing.pool netrc
    numbers operator optparse pathlib pdb pickle pkgutil plistlib poplib pprint pstats queue random re runpy sched
    secrets select selectors shelve shlex shutil sqlite3 stat statistics string struct subprocess tarfile tempfile
    textwrap threading time timeit token tokenize tomllib trace traceback types typing unicodedata unittest.mock
    urllib.parse urllib.robotparser uuid warnings wave weakref webbrowser xml.etree.ElementTree xml.sax zipapp
    zipfile zlib zoneinfo
    """.split()  # noqa: SIM905  a list of names reads better so
)
