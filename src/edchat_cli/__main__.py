"""``python -m edchat_cli``: the same as ``edchat``."""

from . import main

raise SystemExit(main())
