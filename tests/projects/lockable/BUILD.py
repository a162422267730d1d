"""Two pinned downloads; the second has no lock yet, and says what hb lock would write."""

from rules.demo import compile, download

download(name="pinned", lock="locks/pinned.lock", urls=["https://example.org/a.tar"])
download(name="unpinned", lock="locks/unpinned.lock", urls=["https://example.org/b.tar"])
compile(name="user", deps=[":pinned"])
