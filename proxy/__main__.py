"""``python -m proxy`` is ``generations-proxy``."""

from proxy.cli import main

main()
