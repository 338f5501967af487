"""The modules whose pages are rendered by default: present on every Python from 3.11 on, and silent about the machine.

Left out are those whose pages come from it (os, sys, site, sysconfig, platform, …), need a display or a terminal, or act on import.
"""

MODULES: tuple[str, ...] = tuple(  # noqa: SIM905  a list of names reads better so
    """
    abc argparse array ast asyncio asyncio.events asyncio.locks asyncio.queues asyncio.streams asyncio.subprocess
    asyncio.tasks atexit base64 bdb binascii bisect bz2 cProfile calendar cmd code codecs codeop collections
    collections.abc colorsys compileall concurrent.futures configparser contextlib contextvars copy copyreg csv
    ctypes dataclasses datetime decimal difflib dis doctest email email.charset email.generator email.header
    email.headerregistry email.message email.parser email.policy email.utils encodings.idna enum faulthandler
    filecmp fileinput fnmatch fractions ftplib functools gc getopt getpass gettext glob graphlib gzip hashlib
    heapq hmac html html.parser http http.client http.cookiejar http.cookies http.server imaplib importlib
    importlib.abc importlib.machinery importlib.metadata importlib.resources importlib.util inspect io ipaddress
    itertools json json.decoder json.encoder keyword linecache locale logging logging.config logging.handlers lzma
    mailbox marshal math mimetypes mmap modulefinder multiprocessing multiprocessing.pool
    multiprocessing.shared_memory netrc numbers opcode operator optparse pathlib pdb pickle pickletools pkgutil
    plistlib poplib pprint profile pstats py_compile pyclbr queue quopri random re reprlib rlcompleter runpy sched
    secrets select selectors shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl stat statistics
    string stringprep struct subprocess symtable tabnanny tarfile tempfile textwrap threading time timeit token
    tokenize tomllib trace traceback tracemalloc types typing unicodedata unittest unittest.case unittest.mock
    urllib.error urllib.parse urllib.request urllib.robotparser uuid warnings wave weakref webbrowser
    wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.util wsgiref.validate xml.dom xml.dom.minidom
    xml.dom.pulldom xml.etree.ElementTree xml.sax xml.sax.handler xml.sax.saxutils xmlrpc.client xmlrpc.server
    zipapp zipfile zipimport zlib zoneinfo
    """.split()
)
