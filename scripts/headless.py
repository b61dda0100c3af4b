"""Executes a notebook in a real kernel and prints the last line that it printed, if any: `headless.py NOTEBOOK`.

The notebook's file is not changed. The bundled server that it started is stopped at the end.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main() -> int:
    path = Path(sys.argv[1])
    notebook = nbformat.read(path, as_version=4)
    # EDCHAT_DATA_DIR names a folder of this run's own, so no one else uses the server that is stopped here
    notebook.cells.append(nbformat.v4.new_code_cell("import edchat_widget; edchat_widget.launch().stop()"))
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": path.parent}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    try:
        client.execute()
    except CellExecutionError as exc:
        print(f"a cell of {path.name} failed: {exc.ename}: {exc.evalue}", file=sys.stderr)
        return 1
    printed = [
        line
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
        for line in output.text.splitlines()
    ]
    if printed:
        print(printed[-1])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
